//! What the newest publication holds.

use std::str::FromStr;

use rstuf_tuf::{Change, PathPattern, TargetPath};
use tokio::task::{JoinSet, LocalSet};

use crate::{
    client::{Client, addition},
    error::Error,
    output::Output,
    page::{self, Listed},
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

    fn covers(&self, path: &str) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        TargetPath::try_from(path).is_ok_and(|path| pattern.matches(&path))
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

/// Lists artifacts, at most `limit`: the server finds those with the prefix, and the pattern is matched here.
///
/// # Errors
/// As `ListArtifacts`.
pub(crate) async fn list(
    client: &Client,
    wanted: &Wanted,
    limit: Option<usize>,
) -> Result<Listed<view::Artifact>, Error> {
    // One more than asked for tells that there are more.
    let beyond = limit.map(|limit| limit.saturating_add(1));
    let listed = page::collect(beyond, PAGE_MAX, async |page_size, page_token| {
        let page_size = if wanted.is_pattern() { PAGE_MAX } else { page_size };
        let (mut found, next) = client.list_artifacts(&wanted.prefix, page_size, page_token).await?;
        found.retain(|artifact| wanted.covers(&artifact.path));
        Ok((found, next))
    });
    let mut items = listed.await?.items;
    let more = limit.is_some_and(|limit| items.len() > limit);
    items.truncate(limit.unwrap_or(usize::MAX));
    Ok(Listed { items, more })
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
        assert!(pattern.is_pattern() && pattern.prefix == "dist/v1.");
        assert!(pattern.covers("dist/v1.2/app-a.zip"));
        assert!(!pattern.covers("dist/v1.2/deep/app-a.zip") && !pattern.covers("dist/v1.2/app-ab.zip"));
        let prefix: Wanted = "dist/v1.".parse().unwrap();
        assert!(!prefix.is_pattern() && prefix.covers("dist/v1.2/deep/app-a.zip"));
        assert!("dist/**".parse::<Wanted>().unwrap_err().contains("--prefix \"dist/\""));
        assert!("/dist/*".parse::<Wanted>().is_err());
        assert!(!Wanted::with_prefix("what?/*").is_pattern());
    }
}
