//! Reading the list as it was at one moment.

use std::ops::Bound;

use rstuf_tuf::{PathPattern, Target, TargetPath};

use super::runs::{Merged, Run};
use crate::{Error, Result};

/// Paths looked at for one page: what does not match costs too.
const SCANNED_MAX: usize = 50_000;

/// Which artifacts are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Their paths begin with this.
    pub prefix: String,
    /// And match this.
    pub pattern: Option<PathPattern>,
    /// And come after this.
    pub after: Option<TargetPath>,
    /// So many at most.
    pub limit: usize,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the order of their paths.
    pub artifacts: Vec<(TargetPath, Target)>,
    /// The last path that was looked at, where there may be more.
    pub more_after: Option<TargetPath>,
}

/// All artifacts of one publication, whatever is published meanwhile.
pub(crate) struct View {
    /// Oldest first.
    pub(super) runs: Vec<Run>,
}

impl View {
    /// What is at one path. Blocks.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub(crate) fn get(&self, path: &TargetPath) -> Result<Option<Target>> {
        for run in self.runs.iter().rev() {
            if let Some(record) = run.find(path.as_str()).map_err(Error::Index)? {
                return record.target.as_deref().map(decode).transpose();
            }
        }
        Ok(None)
    }

    /// One page; it ends early where few of many paths match, or with the artifact that brings it over `bytes_max`.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub(crate) fn page(&self, query: &Query, bytes_max: usize) -> Result<Found> {
        let after = query.after.as_ref().map(TargetPath::as_str);
        let from = after.map_or(Bound::Included(query.prefix.as_str()), Bound::Excluded);
        let (mut found, mut bytes) = (Found::default(), 0);
        for (scanned, record) in Merged::new(&self.runs, from).enumerate() {
            let record = record.map_err(Error::Index)?;
            if !record.path.starts_with(&query.prefix) {
                break;
            }
            let path = TargetPath::try_from(&*record.path).map_err(unreadable)?;
            let wanted = query.pattern.as_ref().is_none_or(|pattern| pattern.matches(&path));
            if let Some(target) = record.target.filter(|_| wanted) {
                bytes += path.as_str().len() + target.len();
                found.artifacts.push((path.clone(), decode(&target)?));
            }
            if found.artifacts.len() >= query.limit || bytes > bytes_max || scanned + 1 >= SCANNED_MAX {
                found.more_after = Some(path);
                break;
            }
        }
        Ok(found)
    }
}

fn decode(target: &[u8]) -> Result<Target> {
    Target::from_json(target).map_err(unreadable)
}

fn unreadable(error: rstuf_tuf::Error) -> Error {
    Error::Index(std::io::Error::other(error))
}
