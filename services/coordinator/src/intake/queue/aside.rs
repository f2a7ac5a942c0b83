//! What is set aside: the targets signer refuses it, and it waits for somebody to retry or cancel it.

use std::collections::BTreeMap;

use rstuf_api::limits;
use uuid::Uuid;

use super::entry::{Entry, Load};
use crate::{Error, Result, journal::rows::Standing};

/// While more than this is set aside, nothing new is taken in. What was acknowledged before may still be set aside:
/// that is bounded by what may wait.
const MAX: Load = Load { submissions: 1_024, changes: 20_000_000, bytes: 4 * limits::SIGNING_REQUEST_BYTES_MAX };

/// Submissions, by number.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    entries: BTreeMap<u64, Entry>,
    load: Load,
}

impl SetAside {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Their tasks, in the order of acknowledgement.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = Uuid> {
        self.entries.values().map(|entry| entry.task)
    }

    /// That of a task.
    pub(crate) fn find(&self, task: Uuid) -> Option<&Entry> {
        self.entries.values().find(|entry| entry.task == task)
    }

    /// Keeps a submission.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.load = self.load.plus(entry.load());
        self.entries.insert(entry.seq, Entry { standing: Standing::SetAside, paths: Vec::new(), ..entry });
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        self.load = self.load.minus(entry.load());
        Some(entry)
    }

    /// Whether anything new may come.
    ///
    /// # Errors
    /// [`Error::SetAsideFull`] names the bound.
    pub(super) fn admit(&self) -> Result<()> {
        let check = |what, value: u64, max: u64| {
            if value > max { Err(Error::SetAsideFull { what, max }) } else { Ok(()) }
        };
        check("submissions set aside", self.load.submissions as u64, MAX.submissions as u64)?;
        check("changes set aside", self.load.changes, MAX.changes)?;
        check("bytes set aside", self.load.bytes, MAX.bytes)
    }
}
