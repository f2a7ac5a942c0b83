//! What was probably meant by a name that is none of ours.

/// Letters in which a name may differ from the one that was meant.
const LETTERS_MAX: usize = 2;

/// The name that was probably meant: one that differs in case or separators only, or in at most two letters.
pub(super) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let distance = |it: &str| strsim::levenshtein(&plain(it), &plain(name));
    known.iter().map(|it| (distance(it), it)).min().filter(|it| it.0 <= LETTERS_MAX).map(|it| it.1)
}

/// The variables of an environment that nearly are one of `known`, each with the one that was probably meant.
///
/// What Kubernetes injects for a Service, such as `RSTUF_COORDINATOR_PORT` and `RSTUF_COORDINATOR_SERVICE_HOST`, is
/// none.
pub fn near_variables(names: impl IntoIterator<Item = String>, known: &[String]) -> Vec<(String, String)> {
    let ours = |name: &String| name.to_lowercase().starts_with("rstuf") && !known.contains(name);
    let unknown = names.into_iter().filter(|name| ours(name) && !is_injected(name));
    let mut near: Vec<_> =
        unknown.filter_map(|name| nearest(&name, known).cloned().map(|meant| (name, meant))).collect();
    near.sort();
    near
}

/// Whether a name is of the form of those that Kubernetes gives for a Service.
fn is_injected(name: &str) -> bool {
    name.ends_with("_PORT") || ["_PORT_", "_SERVICE_HOST", "_SERVICE_PORT"].iter().any(|it| name.contains(it))
}
