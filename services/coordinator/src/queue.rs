//! Acknowledged submissions that are not finished, in memory: what waits for a batch, and what is held.
//!
//! Only numbers stand here; the changes are in the journal. Both sides are bounded.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use rstuf_tuf::TargetPath;
use uuid::Uuid;

/// Submissions that may wait at a time; the next one is refused.
pub(crate) const SUBMISSIONS_WAITING_MAX: usize = 4_096;
/// Changes that may be held at a time, over all held submissions.
pub(crate) const CHANGES_HELD_MAX: u64 = 1_000_000;
/// Changes that may wait at a time, over all waiting submissions.
pub(crate) const CHANGES_WAITING_MAX: u64 = 20_000_000;
/// A batch takes no further submission once it has this many changes.
pub(crate) const CHANGES_PER_BATCH_MAX: u64 = 100_000;

/// A path, for finding out whether two submissions share one: 16 bytes of its SHA-256.
pub(crate) type PathKey = [u8; 16];

/// The key of a path.
pub(crate) fn path_key(path: &TargetPath) -> PathKey {
    let mut key = PathKey::default();
    key.copy_from_slice(&path.digest().as_bytes()[..16]);
    key
}

/// A submission in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number, which is its place in the order of acknowledgement.
    pub seq: u64,
    /// The task that follows it.
    pub task: Uuid,
    /// Changes in it.
    pub changes: u64,
    /// Its paths; empty for one that waits while nothing is held, because then nobody asks.
    pub paths: Vec<PathKey>,
}

/// What the next batch consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// In the order of acknowledgement.
    pub submissions: Vec<Entry>,
    /// Publish requests that are answered by it, by number.
    pub publishes: Vec<(u64, Uuid)>,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Entry>,
    waiting_changes: u64,
    /// Publish requests, by number: each asks for everything held with a lower one.
    publishes: Vec<(u64, Uuid)>,
    held: BTreeMap<u64, Entry>,
    held_by_path: HashMap<PathKey, Vec<u64>>,
    held_changes: u64,
}

impl Queue {
    /// Submissions that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.publishes.len()
    }

    /// Changes that wait.
    pub(crate) fn waiting_changes(&self) -> u64 {
        self.waiting_changes
    }

    /// Submissions that are held.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Changes that are held.
    pub(crate) fn held_changes(&self) -> u64 {
        self.held_changes
    }

    /// Adds one that waits.
    pub(crate) fn wait(&mut self, entry: Entry) {
        self.waiting_changes += entry.changes;
        self.waiting.push_back(entry);
    }

    /// Adds one that is held.
    pub(crate) fn hold(&mut self, entry: Entry) {
        self.held_changes += entry.changes;
        for path in &entry.paths {
            self.held_by_path.entry(*path).or_default().push(entry.seq);
        }
        self.held.insert(entry.seq, entry);
    }

    /// Asks for the publication of everything held with a number below `seq`.
    pub(crate) fn publish(&mut self, seq: u64, task: Uuid) {
        self.publishes.push((seq, task));
    }

    /// Takes the next batch out: publish requests with all they ask for, or else waiting submissions up to the bound;
    /// with each submission the earlier held ones that share a path with it, and so on for those.
    pub(crate) fn take(&mut self) -> Selection {
        let publishes = std::mem::take(&mut self.publishes);
        let asked = publishes.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
        let mut taken: BTreeMap<u64, Entry> = BTreeMap::new();
        for seq in self.held.range(..asked).map(|(seq, _)| *seq).collect::<Vec<_>>() {
            taken.extend(self.unhold(seq).map(|entry| (seq, entry)));
        }
        let mut changes: u64 = taken.values().map(|entry| entry.changes).sum();
        while let Some(next) = self.waiting.front() {
            // What was acknowledged after a held submission that shares a path must not overtake it.
            if !taken.is_empty() && changes + next.changes > CHANGES_PER_BATCH_MAX {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            self.waiting_changes -= next.changes;
            changes += next.changes;
            for entry in self.take_along(&next) {
                changes += entry.changes;
                taken.insert(entry.seq, entry);
            }
            taken.insert(next.seq, next);
        }
        Selection { submissions: taken.into_values().collect(), publishes }
    }

    fn take_along(&mut self, entry: &Entry) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut open: Vec<(u64, Vec<PathKey>)> = vec![(entry.seq, entry.paths.clone())];
        while let Some((seq, paths)) = open.pop() {
            let earlier: HashSet<u64> = paths
                .iter()
                .filter_map(|path| self.held_by_path.get(path))
                .flatten()
                .copied()
                .filter(|held| *held < seq)
                .collect();
            for held in earlier.into_iter().filter_map(|held| self.unhold(held)) {
                open.push((held.seq, held.paths.clone()));
                found.push(held);
            }
        }
        found
    }

    fn unhold(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.held.remove(&seq)?;
        self.held_changes -= entry.changes;
        for path in &entry.paths {
            if let Some(holders) = self.held_by_path.get_mut(path) {
                holders.retain(|holder| *holder != seq);
                if holders.is_empty() {
                    self.held_by_path.remove(path);
                }
            }
        }
        Some(entry)
    }

    /// Puts back what was taken, in front.
    pub(crate) fn put_back(&mut self, selection: Selection) {
        for entry in selection.submissions.into_iter().rev() {
            self.waiting_changes += entry.changes;
            self.waiting.push_front(entry);
        }
        self.publishes.extend(selection.publishes);
    }
}
