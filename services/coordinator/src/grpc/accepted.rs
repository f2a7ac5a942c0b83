//! The line that each accepted request leaves in the log.

use std::net::SocketAddr;

use rstuf_api::proto::{artifacts::v1 as artifacts, tasks::v1 as tasks};
use tonic::Request;

/// Paths that are named.
const PATHS_MAX: usize = 3;
/// Characters of a path that are named.
const PATH_CHARS_MAX: usize = 120;

/// What a request brings, gathered while it comes.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    peer: Option<SocketAddr>,
    adds: u64,
    removals: u64,
    paths: Vec<String>,
}

impl Accepted {
    /// A request that brought nothing yet.
    pub(super) fn new<T>(request: &Request<T>) -> Self {
        Self { peer: request.remote_addr(), ..Self::default() }
    }

    /// Counts changes, and keeps the first paths.
    pub(super) fn count(&mut self, changes: &[artifacts::Change]) {
        for change in changes {
            let path = match &change.kind {
                Some(artifacts::change::Kind::Add(artifact)) => {
                    self.adds += 1;
                    &artifact.path
                }
                Some(artifacts::change::Kind::RemovePath(path)) => {
                    self.removals += 1;
                    path
                }
                None => continue,
            };
            if self.paths.len() < PATHS_MAX {
                self.paths.push(path.chars().take(PATH_CHARS_MAX).collect());
            }
        }
    }

    /// Says that it was accepted; of an import in steps only the number of changes is known by then, and nothing else
    /// is said. Names are escaped, so that none can look like another line, or like another name.
    pub(super) fn log(&self, task: Option<&tasks::Task>) {
        let Some(task) = task else { return };
        let seen = self.adds + self.removals == task.changes;
        let (adds, removals) = (seen.then_some(self.adds), seen.then_some(self.removals));
        let paths = seen.then(|| tracing::field::debug(&self.paths));
        let peer = self.peer.map(tracing::field::display);
        let (request_id, task, changes) = (&task.request_id, &task.id, task.changes);
        tracing::info!(peer, ?request_id, task, changes, adds, removals, paths, "accepted");
    }
}

#[cfg(test)]
mod tests {
    use artifacts::{Artifact, Change, change::Kind};

    use super::*;

    #[test]
    fn counts_all_and_samples_a_few() {
        let add = |path: &str| Kind::Add(Artifact { path: path.to_owned(), ..Artifact::default() });
        let long = "x".repeat(1_000);
        let kinds = [add("a\u{202e}b"), Kind::RemovePath(long), add("c"), add("d")];
        let changes: Vec<Change> = kinds.into_iter().map(|kind| Change { kind: Some(kind) }).collect();
        let mut accepted = Accepted::new(&Request::new(()));
        changes.chunks(3).for_each(|part| accepted.count(part));
        assert_eq!((accepted.adds, accepted.removals), (3, 1));
        assert_eq!(accepted.paths.len(), PATHS_MAX);
        assert_eq!(accepted.paths[1].len(), PATH_CHARS_MAX);
        assert!(format!("{:?}", accepted.paths).contains("a\\u{202e}b"));
    }
}
