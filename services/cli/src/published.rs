//! What the newest publication holds.

use std::str::FromStr;

use rstuf_tuf::{Change, PathPattern};
use tokio::task::{JoinSet, LocalSet};

use crate::{
    client::{Client, addition},
    error::Error,
    output::Output,
    page,
    view::{self, Outcome},
};

/// Artifacts in one answer, at most.
const PAGE_MAX: u32 = 1_000;

/// Paths asked for at the same time.
const AT_ONCE: usize = 16;

/// Which artifacts somebody wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Their paths begin with this.
    prefix: String,
    /// And match this.
    pattern: Option<PathPattern>,
}

impl Wanted {
    /// All with this prefix, whatever characters it has.
    #[must_use]
    pub(crate) fn with_prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), pattern: None }
    }

    /// Whether it is a pattern, which a path can only be by chance.
    #[must_use]
    pub(crate) fn is_pattern(&self) -> bool {
        self.pattern.is_some()
    }

    /// That there is none, for people.
    #[must_use]
    pub(crate) fn nothing(&self) -> String {
        match &self.pattern {
            Some(pattern) => format!("no artifact matches {pattern}"),
            None if self.prefix.is_empty() => "no artifacts".to_owned(),
            None => format!("no artifact's path begins with {}", self.prefix),
        }
    }

    fn pattern(&self) -> &str {
        self.pattern.as_ref().map_or("", PathPattern::as_str)
    }
}

/// A pattern where there is a wildcard, as delegations know them: `*` stands for any characters and `?` for one,
/// neither for a `/`. Else a prefix.
impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(at) = text.find(['*', '?']) else { return Ok(Self::with_prefix(text)) };
        if text.contains("**") {
            let (before, _) = text.split_at(at);
            return Err(format!("`*` stands for characters of one directory; for all below, use --prefix {before:?}"));
        }
        let pattern = text.parse::<PathPattern>().map_err(|error| error.to_string())?;
        Ok(Self { prefix: text.split_at(at).0.to_owned(), pattern: Some(pattern) })
    }
}

/// All that are wanted.
///
/// # Errors
/// As `ListArtifacts`.
pub(crate) async fn list(client: &Client, output: Output, wanted: &Wanted) -> Result<Vec<view::Artifact>, Error> {
    let mut all = Vec::new();
    let gather = |page| {
        all.extend(page);
        Ok(())
    };
    walk(client, output, wanted, None, gather).await?;
    Ok(all)
}

/// Hands on those that are wanted, at most `limit`, page by page as they come; answers whether there are more.
///
/// # Errors
/// As `ListArtifacts`; what `show` answers.
pub(crate) async fn walk(
    client: &Client,
    output: Output,
    wanted: &Wanted,
    limit: Option<usize>,
    mut show: impl FnMut(Vec<view::Artifact>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let counter = output.counter("listing");
    let (mut left, mut more) = (limit.unwrap_or(usize::MAX), false);
    // One more than asked for tells that there are more.
    let beyond = limit.map(|limit| limit.saturating_add(1));
    let fetch = async |page_size, page_token| {
        client.list_artifacts(&wanted.prefix, wanted.pattern(), page_size, page_token).await
    };
    let within = |mut page: Vec<_>| {
        more |= page.len() > left;
        page.truncate(left);
        left -= page.len();
        counter.inc(page.len() as u64);
        show(page)
    };
    page::walk(beyond, PAGE_MAX, fetch, within).await?;
    counter.finish_and_clear();
    Ok(more)
}

/// How each addition would end if nothing else came between: `added`, `replaced` or `unchanged`.
///
/// # Errors
/// As `GetArtifact`, besides its NOT_FOUND.
pub(crate) async fn outcomes(client: &Client, output: Output, changes: &[Change]) -> Result<Vec<Outcome>, Error> {
    let bar = output.steps_bar(changes.len() as u64).with_message("looking up");
    let mut outcomes = vec![Outcome::Unchanged; changes.len()];
    // Calls stay on this thread: they share its randomness.
    let here = LocalSet::new();
    let looked_up = here.run_until(async {
        let mut running = JoinSet::new();
        let mut ahead = changes.iter().enumerate();
        loop {
            while running.len() < AT_ONCE {
                let Some((at, change)) = ahead.next() else { break };
                let Change::Add { path, target } = change else { continue };
                let (client, wanted) = (client.clone(), addition(path, target));
                running.spawn_local(async move { (at, outcome(&client, &wanted).await) });
            }
            let Some(ended) = running.join_next().await else { return Ok(()) };
            let (at, outcome) = ended.map_err(|error| Error::failed(format!("looking up failed: {error}")))?;
            let outcome = outcome?;
            outcomes.get_mut(at).into_iter().for_each(|slot| *slot = outcome);
            bar.inc(1);
        }
    });
    looked_up.await?;
    bar.finish_and_clear();
    Ok(outcomes)
}

async fn outcome(client: &Client, addition: &view::Artifact) -> Result<Outcome, Error> {
    Ok(match client.find_artifact(&addition.path).await? {
        None => Outcome::Added,
        Some(found) if found == *addition => Outcome::Unchanged,
        Some(_) => Outcome::Replaced,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_makes_a_pattern_of_which_the_server_is_asked_the_literal_beginning() {
        let pattern: Wanted = "dist/v1.*/app-?.zip".parse().unwrap();
        assert!(pattern.is_pattern() && pattern.prefix == "dist/v1." && pattern.pattern() == "dist/v1.*/app-?.zip");
        let prefix: Wanted = "dist/v1.".parse().unwrap();
        assert!(!prefix.is_pattern() && prefix.prefix == "dist/v1." && prefix.pattern().is_empty());
        assert!("dist/**".parse::<Wanted>().unwrap_err().contains("--prefix \"dist/\""));
        assert!("/dist/*".parse::<Wanted>().is_err());
        assert!(!Wanted::with_prefix("what?/*").is_pattern());
    }
}
