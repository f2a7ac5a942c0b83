//! The unit of change.

use std::{collections::BTreeMap, sync::Arc};

use crate::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Error, KEY_BYTES_MAX, Result, Staged};

/// Changes that become visible and durable together, or not at all.
///
/// The last change of a key counts. Bounds are checked when the batch is committed. Cheap to clone, for whoever may
/// have to commit it again: keys and values are copied only where a clone is changed.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: Arc<BTreeMap<Vec<u8>, Option<Put>>>,
    size_bytes: usize,
    free_bytes_min: u64,
}

/// What a key is set to.
#[derive(Debug, Clone)]
pub enum Put {
    /// These bytes.
    Value(Vec<u8>),
    /// What was written ahead.
    Staged(Staged),
}

impl Put {
    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Staged(_) => 0,
        }
    }
}

impl Batch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key` to `value`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.set(key.into(), Some(Put::Value(value.into())));
        self
    }

    /// Sets `key` to what was written ahead, by the store that will commit this.
    pub fn put_staged(&mut self, key: impl Into<Vec<u8>>, staged: Staged) -> &mut Self {
        self.set(key.into(), Some(Put::Staged(staged)));
        self
    }

    /// Removes `key`; to remove what is absent changes nothing.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.set(key.into(), None);
        self
    }

    /// Leaves so many bytes of the disk free, where that is more than the store's own floor: what can wait is refused
    /// before what can't. A batch without changes is refused where the smallest one would be.
    pub fn leave(&mut self, free_bytes: u64) -> &mut Self {
        self.free_bytes_min = self.free_bytes_min.max(free_bytes);
        self
    }

    /// Bytes of the disk that it leaves free.
    pub fn free_bytes_min(&self) -> u64 {
        self.free_bytes_min
    }

    /// Adds the changes of `later`, which win where both change a key, and leaves what both leave.
    pub fn append(&mut self, later: Self) -> &mut Self {
        self.leave(later.free_bytes_min);
        for (key, value) in Arc::unwrap_or_clone(later.changes) {
            self.set(key, value);
        }
        self
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Number of rows changed.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Bytes of all keys and values, but for those that were written ahead.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The changes in the order of their keys; `None` removes.
    pub fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&Put>)> {
        self.changes.iter().map(|(key, value)| (key.as_slice(), value.as_ref()))
    }

    /// Checks the bounds [`KEY_BYTES_MAX`], [`BATCH_ROWS_MAX`] and [`BATCH_BYTES_MAX`].
    ///
    /// # Errors
    /// [`Error::Limit`] names the bound that is broken.
    pub fn check(&self) -> Result<()> {
        let key_bytes = self.changes.keys().map(Vec::len).max().unwrap_or(0);
        at_most("key length in bytes", key_bytes, KEY_BYTES_MAX)?;
        at_most("number of rows in a batch", self.len(), BATCH_ROWS_MAX)?;
        at_most("size of a batch in bytes", self.size_bytes, BATCH_BYTES_MAX)
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Put>) {
        let key_bytes = key.len();
        self.size_bytes += key_bytes + value.as_ref().map_or(0, Put::memory_bytes);
        if let Some(old) = Arc::make_mut(&mut self.changes).insert(key, value) {
            self.size_bytes -= key_bytes + old.map_or(0, |value| value.memory_bytes());
        }
    }
}

fn at_most(what: &'static str, value: usize, max: usize) -> Result<()> {
    if value > max {
        return Err(Error::Limit { what, value: value as u64, max: max as u64 });
    }
    Ok(())
}

/// Takes the changes out, so that a chain of calls can be committed: `store.commit(Batch::new().put("a", "1"))`.
impl From<&mut Self> for Batch {
    fn from(batch: &mut Self) -> Self {
        std::mem::take(batch)
    }
}
