//! What a publication changes, before anybody may see it.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use rstuf_tuf::{Target, TargetPath};

use super::{
    runs::{Recent, cost_bytes},
    segment::{Record, Segment},
};

/// Changes that take effect together.
pub(crate) struct Update {
    folder: PathBuf,
    recent: BTreeMap<Arc<str>, Option<Bytes>>,
    recent_bytes: usize,
    recent_bytes_max: usize,
    segments: Vec<Arc<Segment>>,
    failure: Option<io::Error>,
}

impl Update {
    pub(super) fn new(folder: PathBuf, recent_bytes_max: usize) -> Self {
        let (recent, recent_bytes, segments, failure) = Default::default();
        Self { folder, recent, recent_bytes, recent_bytes_max, segments, failure }
    }

    /// Says what is at a path now; none if nothing is. Blocks, when there is much.
    pub(crate) fn put(&mut self, path: &TargetPath, target: Option<&Target>) {
        let target = target.map(|target| Bytes::from(target.to_json()));
        self.recent_bytes += cost_bytes(path.as_str(), target.as_ref());
        self.recent.insert(path.as_str().into(), target);
        if self.recent_bytes > self.recent_bytes_max {
            self.spill();
        }
    }

    /// All that was said, oldest first, but for what is in memory still.
    pub(super) fn into_runs(self) -> io::Result<(Vec<Arc<Segment>>, Recent)> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok((self.segments, Recent::new(self.recent))),
        }
    }

    /// The same, all of it in files.
    pub(super) fn into_segments(mut self) -> io::Result<Vec<Arc<Segment>>> {
        if !self.recent.is_empty() {
            self.spill();
        }
        self.into_runs().map(|(segments, _)| segments)
    }

    fn spill(&mut self) {
        self.recent_bytes = 0;
        let records = std::mem::take(&mut self.recent).into_iter();
        match Segment::write(&self.folder, records.map(|(path, target)| Ok(Record { path, target }))) {
            Ok(segment) => self.segments.push(Arc::new(segment)),
            // What fails once is of no use, however it goes on.
            Err(error) => self.failure = Some(error),
        }
    }
}
