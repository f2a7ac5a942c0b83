//! The rows as they are: those of the database, and over them, in memory, what the last commits changed. That stands in
//! the log until it is moved down.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use sled::IVec;

use crate::{
    row::BlobDigest,
    rows::{Change, Outcome, Rows, start},
};

/// A database, and what is not in it yet.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) rows: Rows,
    recent: BTreeMap<Vec<u8>, Recent>,
    /// Large values that recent rows refer to, and that have no file.
    values: HashMap<BlobDigest, Vec<u8>>,
}

/// A row that changed.
#[derive(Debug)]
struct Recent {
    /// None where it was removed.
    row: Option<Vec<u8>>,
    /// Whether the database has a row under its key.
    is_below: bool,
}

impl Table {
    pub(crate) fn new(rows: Rows) -> Self {
        Self { rows, recent: BTreeMap::new(), values: HashMap::new() }
    }

    /// Puts changes over the rows.
    pub(crate) fn put(
        &mut self,
        changes: Vec<Change>,
        values: impl Iterator<Item = (BlobDigest, Vec<u8>)>,
    ) -> Outcome<()> {
        for (key, row) in changes {
            let is_below = match self.recent.get(&key) {
                Some(recent) => recent.is_below,
                None => self.rows.get(&key)?.is_some(),
            };
            // What came and went is not moved down at all.
            if row.is_some() || is_below {
                self.recent.insert(key, Recent { row, is_below });
            } else {
                self.recent.remove(&key);
            }
        }
        self.values.extend(values);
        Ok(())
    }

    /// Rows changed since they were moved down last.
    pub(crate) fn recent_len(&self) -> usize {
        self.recent.len()
    }

    /// What is to be moved down.
    pub(crate) fn recent(&self) -> Vec<Change> {
        self.recent.iter().map(|(key, recent)| (key.clone(), recent.row.clone())).collect()
    }

    /// What is recent has been moved down.
    pub(crate) fn moved_down(&mut self) {
        self.recent.clear();
        self.values.clear();
    }

    /// Large values that have no file yet.
    pub(crate) fn values(&self) -> BTreeMap<BlobDigest, &[u8]> {
        self.values.iter().map(|(digest, value)| (*digest, value.as_slice())).collect()
    }

    pub(crate) fn value(&self, digest: &BlobDigest) -> Option<&[u8]> {
        self.values.get(digest).map(Vec::as_slice)
    }

    /// Forgets a large value that no row refers to; whether it was here.
    pub(crate) fn forget(&mut self, digest: &BlobDigest) -> bool {
        self.values.remove(digest).is_some()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Outcome<Option<IVec>> {
        match self.recent.get(key) {
            Some(recent) => Ok(recent.row.as_deref().map(IVec::from)),
            None => self.rows.get(key),
        }
    }

    /// As [`Rows::range`].
    pub(crate) fn range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Outcome<impl Iterator<Item = Outcome<(IVec, IVec)>> + use<'_>> {
        let own = self.recent.range::<[u8], _>((start(prefix, after), Bound::Unbounded));
        let mut below = self.rows.range(prefix, after)?.peekable();
        let prefix = prefix.to_vec();
        let mut own = own.take_while(move |(key, _)| key.starts_with(&prefix)).peekable();
        let next = move || {
            loop {
                let lower = match below.peek() {
                    Some(Ok((key, _))) => Some(key),
                    Some(Err(_)) => return below.next(),
                    None => None,
                };
                let is_first = |own: &[u8]| lower.is_none_or(|lower| own <= lower.as_ref());
                let Some((key, recent)) = own.next_if(|(key, _)| is_first(key)) else { return below.next() };
                // It takes the place of the row below.
                below.next_if(|lower| lower.as_ref().is_ok_and(|(lower, _)| lower == key));
                if let Some(row) = &recent.row {
                    return Some(Ok((key.as_slice().into(), row.as_slice().into())));
                }
            }
        };
        Ok(std::iter::from_fn(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recent_counts_before_the_rows_below() {
        let dir = tempfile::tempdir().unwrap();
        let rows = Rows::open(dir.path()).map_err(|error| format!("{error:?}")).unwrap();
        let row = |key: &str, value: &str| (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        let gone = |key: &str| (key.as_bytes().to_vec(), None);
        rows.commit(["a1", "a3", "a5", "a7", "b1"].map(|key| row(key, "old")).into()).unwrap();
        let mut table = Table::new(rows);
        let changes = [row("a0", "new"), gone("a1"), row("a3", "new"), row("a4", "new"), gone("a6"), gone("a7")];
        table.put(changes.into(), std::iter::empty()).unwrap();
        let changes = vec![row("a8", "new"), row("a9", "new"), row("b0", "new")];
        table.put(changes, std::iter::empty()).unwrap();
        table.put(vec![gone("a9")], std::iter::empty()).unwrap();
        let moved: Vec<_> = table.recent().into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect();
        assert_eq!(moved, ["a0", "a1", "a3", "a4", "a7", "a8", "b0"], "what came and went is not among them");
        let range = |prefix: &str, after: Option<&str>| {
            let rows = table.range(prefix.as_bytes(), after.map(str::as_bytes)).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            rows.map(|row| row.map(|(key, row)| format!("{} {}", text(&key), text(&row))).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(range("a", None), ["a0 new", "a3 new", "a4 new", "a5 old", "a8 new"]);
        assert_eq!(range("a", Some("a3")), ["a4 new", "a5 old", "a8 new"]);
        assert_eq!(range("b", Some("a3")), ["b0 new", "b1 old"]);
        assert_eq!(range("c", None), Vec::<String>::new());
        for (key, expected) in [("a1", None), ("a3", Some("new")), ("a5", Some("old")), ("a6", None)] {
            let found = table.get(key.as_bytes()).unwrap();
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{key}");
        }
    }
}
