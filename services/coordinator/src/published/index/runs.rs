//! Runs of records: recent ones in memory, the bulk in files. Where several know a path, the newest decides.

use std::{collections::BTreeMap, io, ops::Bound, sync::Arc};

use bytes::Bytes;

use super::segment::{Cursor, Record, Segment};

/// What a record takes in memory besides its path and its target.
const OVERHEAD_BYTES: usize = 128;

/// What a path and a target take in memory.
pub(super) fn cost_bytes(path: &str, target: Option<&Bytes>) -> usize {
    path.len() + target.map_or(0, Bytes::len) + OVERHEAD_BYTES
}

/// Recent records, sorted.
#[derive(Debug)]
pub(super) struct Recent {
    records: Vec<Record>,
    bytes: usize,
}

impl Recent {
    /// All of these.
    pub(super) fn new(records: BTreeMap<Arc<str>, Option<Bytes>>) -> Self {
        records.into_iter().map(|(path, target)| Record { path, target }).collect()
    }

    /// One of several, oldest first.
    pub(super) fn merge(runs: &[Arc<Self>]) -> Self {
        let runs: Vec<_> = runs.iter().cloned().map(Run::Recent).collect();
        // What is in memory can be read.
        Merged::new(&runs, Bound::Unbounded).filter_map(Result::ok).collect()
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl FromIterator<Record> for Recent {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        let records: Vec<_> = records.into_iter().collect();
        let bytes = records.iter().map(|record| cost_bytes(&record.path, record.target.as_ref())).sum();
        Self { records, bytes }
    }
}

/// A run in memory or in a file.
#[derive(Clone)]
pub(super) enum Run {
    Recent(Arc<Recent>),
    Segment(Arc<Segment>),
}

impl Run {
    /// What is known of one path. Blocks.
    pub(super) fn find(&self, path: &str) -> io::Result<Option<Record>> {
        match self {
            Self::Segment(segment) => segment.find(path),
            Self::Recent(recent) => {
                let at = recent.records.binary_search_by(|record| (*record.path).cmp(path));
                Ok(at.ok().and_then(|at| recent.records.get(at)).cloned())
            }
        }
    }

    fn records(&self, from: Bound<&str>) -> Records {
        match self {
            Self::Segment(segment) => Box::new(Cursor::records(segment.clone(), from)),
            Self::Recent(recent) => {
                let before = |record: &Record| match from {
                    Bound::Included(from) => &*record.path < from,
                    Bound::Excluded(from) => &*record.path <= from,
                    Bound::Unbounded => false,
                };
                let (recent, begin) = (recent.clone(), recent.records.partition_point(before));
                Box::new((begin..).map_while(move |at| recent.records.get(at).cloned().map(Ok)))
            }
        }
    }
}

type Records = Box<dyn Iterator<Item = io::Result<Record>> + Send>;

/// The records of several runs in the order of their paths, each path once, as the newest run has it. Blocks.
pub(super) struct Merged {
    /// The next record of each run, and what follows it; oldest first.
    heads: Vec<(Record, Records)>,
    failure: Option<io::Error>,
}

impl Merged {
    /// From runs, oldest first.
    pub(super) fn new(runs: &[Run], from: Bound<&str>) -> Self {
        let mut merged = Self { heads: Vec::with_capacity(runs.len()), failure: None };
        for mut rest in runs.iter().map(|run| run.records(from)) {
            match rest.next() {
                Some(Ok(record)) => merged.heads.push((record, rest)),
                Some(Err(error)) => merged.failure = Some(error),
                None => {}
            }
        }
        merged
    }

    fn advance(&mut self, at: usize) -> Option<Record> {
        let (record, rest) = self.heads.get_mut(at)?;
        match rest.next() {
            Some(Ok(next)) => return Some(std::mem::replace(record, next)),
            Some(Err(error)) => self.failure = Some(error),
            None => {}
        }
        // The order of the others says which of them is newest.
        Some(self.heads.remove(at).0)
    }
}

impl Iterator for Merged {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failure.take() {
            self.heads.clear();
            return Some(Err(error));
        }
        let (mut least, mut same) = (None::<(usize, &Arc<str>)>, false);
        for (at, (record, _)) in self.heads.iter().enumerate() {
            match least.map(|(_, path)| record.path.cmp(path)) {
                Some(std::cmp::Ordering::Greater) => continue,
                order => same = order == Some(std::cmp::Ordering::Equal),
            }
            least = Some((at, &record.path));
        }
        let at = least?.0;
        let newest = self.advance(at)?;
        if same {
            for older in (0..at).rev() {
                if self.heads.get(older).is_some_and(|(record, _)| record.path == newest.path) {
                    self.advance(older);
                }
            }
        }
        Some(Ok(newest))
    }
}

/// From which run on all are to be merged into one, of runs with these sizes, oldest first; none where they are few
/// enough. Each is kept at least twice as large as all after it together, so that there are few, and a record is
/// written anew only as often as the whole doubles.
pub(super) fn merge_from(sizes: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator) -> Option<usize> {
    let (count, mut newer, mut from) = (sizes.len(), 0, None);
    for (at, size) in sizes.enumerate().rev() {
        if at + 1 < count && size < 2 * newer {
            from = Some(at);
        }
        newer += size;
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_merged_until_each_is_twice_as_large_as_all_after_it() {
        for (sizes, from) in [
            (&[][..], None),
            (&[7], None),
            (&[100, 40, 10], None),
            (&[100, 4, 3], Some(1)),
            (&[150, 40, 10, 5, 5], Some(2)),
            (&[8, 8, 8, 8], Some(0)),
            (&[100, 40, 30, 1], Some(0)),
        ] {
            assert_eq!(merge_from(sizes.iter().copied()), from, "{sizes:?}");
        }
    }
}
