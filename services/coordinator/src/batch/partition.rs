//! The changes of a batch, role by role: read from the journal once, whatever the number of roles and of changes, and
//! kept in memory while they are few, in a file without a name beyond that.
//!
//! ```text
//! file   run 1: changes of role 0, of role 1, ... | run 2: changes of role 0, of role 1, ... | ...
//! ```
//!
//! The changes of one role stand in the order of their runs. If the process dies nothing is left, and the journal is
//! read again.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    ops::Range,
};

use bytes::Bytes;
use rstuf_store::Scratch;
use rstuf_tuf::RoleName;

use crate::{Result, journal::Journal};

/// Bytes of changes in memory; where more come, what is there goes into the file as one run.
const RUN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Changes in memory.
const RUN_CHANGES_MAX: usize = 256 * 1024;

/// Takes changes in.
pub(super) struct Partitioning {
    journal: Journal,
    /// Bytes that there must be space for before anything goes into the file; each run is checked by itself too.
    space_bytes: u64,
    bytes: Vec<u8>,
    /// Role, and place in `bytes`.
    changes: Vec<(u32, Range<u32>)>,
    /// Roles by their places in the layout.
    known: HashMap<u32, u32>,
    done: Partition,
}

/// All changes, role by role.
#[derive(Default)]
pub(super) struct Partition {
    roles: BTreeMap<RoleName, u32>,
    /// Changes of each role.
    counts: Vec<u64>,
    file: Option<Scratch>,
    runs: Vec<Run>,
    /// The last run.
    memory: Vec<u8>,
}

/// Where the changes of each role begin in a run; the last one ends where another would begin.
struct Run {
    /// In the file; none in memory.
    start: Option<u64>,
    places: Vec<u32>,
}

impl Run {
    fn place(&self, role: u32) -> Range<u32> {
        let at = |index: u32| self.places.get(index as usize).or(self.places.last()).copied().unwrap_or(0);
        at(role)..at(role + 1)
    }
}

impl Partitioning {
    /// Nothing yet; a file goes beside the journal, where there is space for `space_bytes`, if any is needed.
    pub(super) fn new(journal: Journal, space_bytes: u64) -> Self {
        let (bytes, changes, known, done) = Default::default();
        Self { journal, space_bytes, bytes, changes, known, done }
    }

    /// Takes the next change, of the role that has this place in the layout; `name` names it.
    ///
    /// # Errors
    /// [`crate::Error::Store`], also where there is no space.
    pub(super) fn push(&mut self, place: u32, name: impl FnOnce() -> RoleName, encoded: &[u8]) -> Result<()> {
        let full = self.bytes.len() + encoded.len() > RUN_BYTES_MAX || self.changes.len() == RUN_CHANGES_MAX;
        if full && !self.changes.is_empty() {
            self.flush()?;
        }
        let role = match self.known.entry(place) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                let next = self.done.counts.len() as u32;
                self.done.roles.insert(name(), next);
                self.done.counts.push(0);
                *unknown.insert(next)
            }
        };
        self.done.counts[role as usize] += 1;
        let begin = self.bytes.len() as u32;
        self.bytes.extend_from_slice(encoded);
        self.changes.push((role, begin..self.bytes.len() as u32));
        Ok(())
    }

    /// Everything taken in.
    pub(super) fn finish(mut self) -> Partition {
        let (places, memory) = self.sorted();
        self.done.runs.push(Run { start: None, places });
        self.done.memory = memory;
        self.done
    }

    fn flush(&mut self) -> Result<()> {
        let (places, sorted) = self.sorted();
        let file = match &mut self.done.file {
            Some(file) => file,
            none => none.insert(self.journal.store().scratch(self.space_bytes)?),
        };
        self.done.runs.push(Run { start: Some(file.bytes()), places });
        file.append(&sorted)?;
        Ok(())
    }

    /// What is in memory, role by role, and where each begins; then nothing is.
    fn sorted(&mut self) -> (Vec<u32>, Vec<u8>) {
        let mut changes = std::mem::take(&mut self.changes);
        let bytes = std::mem::take(&mut self.bytes);
        // Those of one role stay in order.
        changes.sort_by_key(|(role, _)| *role);
        let (mut places, mut sorted) = (Vec::new(), Vec::with_capacity(bytes.len()));
        for (role, place) in changes {
            places.resize((role as usize + 1).max(places.len()), sorted.len() as u32);
            sorted.extend_from_slice(&bytes[place.start as usize..place.end as usize]);
        }
        places.push(sorted.len() as u32);
        (places, sorted)
    }
}

impl Partition {
    /// Number of changes of one role.
    pub(super) fn count(&self, role: &RoleName) -> u64 {
        self.roles.get(role).map_or(0, |index| self.counts[*index as usize])
    }

    /// Number of changes of each role.
    pub(super) fn counts(&self) -> BTreeMap<RoleName, u64> {
        self.roles.iter().map(|(role, index)| (role.clone(), self.counts[*index as usize])).collect()
    }

    /// The changes of one role, run by run, so that memory is bounded also where all are of one.
    pub(super) fn changes(&self, role: &RoleName) -> impl Iterator<Item = Result<Bytes>> {
        let role = self.roles.get(role).copied();
        let places = role.into_iter().flat_map(|role| self.runs.iter().map(move |run| (run.start, run.place(role))));
        places.filter(|(_, place)| !place.is_empty()).map(|(start, place)| self.read(start, &place))
    }

    fn read(&self, start: Option<u64>, place: &Range<u32>) -> Result<Bytes> {
        let (Some(start), Some(file)) = (start, &self.file) else {
            return Ok(Bytes::copy_from_slice(&self.memory[place.start as usize..place.end as usize]));
        };
        let mut bytes = vec![0; place.len()];
        file.read(start + u64::from(place.start), &mut bytes)?;
        Ok(bytes.into())
    }
}
