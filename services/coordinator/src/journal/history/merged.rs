//! The rows of several files, and of the journal itself, in the order of their keys, each key once. A file is not read
//! before its turn has come.

use std::{collections::VecDeque, ops::Bound, sync::Arc};

use bytes::Bytes;

use super::segment::{Row, Segment};
use crate::Result;

type Rows = Box<dyn Iterator<Item = Result<Row>>>;

/// A file that is to be read, and the first key that it may have to say.
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    pub(super) first: Bytes,
}

/// See the module. Blocks.
pub(super) struct Merged {
    from: Bound<Vec<u8>>,
    /// In the order of their first keys.
    waiting: VecDeque<Source>,
    /// The next row of each that is being read, and what follows it.
    heads: Vec<(Row, Rows)>,
}

impl Merged {
    /// From a place on: rows that are at hand, and files.
    pub(super) fn new(from: Bound<Vec<u8>>, rows: Vec<Row>, mut sources: Vec<Source>) -> Self {
        sources.sort_by(|one, other| one.first.cmp(&other.first));
        let mut merged = Self { from, waiting: sources.into(), heads: Vec::new() };
        let mut rows = rows.into_iter();
        merged.heads.extend(rows.next().map(|row| (row, Box::new(rows.map(Ok)) as Rows)));
        merged
    }

    /// Begins with the files whose turn has come.
    fn begin(&mut self) -> Result<()> {
        while let Some(source) = self.waiting.front() {
            let next = self.heads.iter().map(|(row, _)| &row.key).min();
            if next.is_some_and(|next| *next < source.first) {
                break;
            }
            let Some(Source { segment, .. }) = self.waiting.pop_front() else { break };
            let mut rows: Rows = Box::new(segment.rows(self.from.as_ref().map(Vec::as_slice)));
            if let Some(row) = rows.next().transpose()? {
                self.heads.push((row, rows));
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Row>> {
        self.begin()?;
        let Some(least) = self.heads.iter().map(|(row, _)| row).min_by(|one, other| one.key.cmp(&other.key)) else {
            return Ok(None);
        };
        let least = least.clone();
        let mut at = 0;
        while let Some((row, rest)) = self.heads.get_mut(at) {
            if row.key != least.key {
                at += 1;
                continue;
            }
            match rest.next().transpose()? {
                Some(next) => *row = next,
                None => drop(self.heads.remove(at)),
            }
        }
        Ok(Some(least))
    }
}

impl Iterator for Merged {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.take();
        if taken.is_err() {
            self.heads.clear();
            self.waiting.clear();
        }
        taken.transpose()
    }
}
