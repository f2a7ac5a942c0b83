//! Acknowledged submissions that are not finished, in memory: what waits for a batch, and what is held.
//!
//! Only numbers stand here; the changes are in the journal. Both sides are bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rstuf_api::limits;
use rstuf_tuf::TargetPath;
use uuid::Uuid;

use crate::{Error, Result};

/// Submissions that may wait at a time; the next one is refused.
pub(crate) const SUBMISSIONS_WAITING_MAX: usize = 4_096;
/// Changes that may wait at a time, over all waiting submissions.
pub(crate) const CHANGES_WAITING_MAX: u64 = 20_000_000;
/// Submissions that may be held at a time: one publish request takes them all into one batch.
pub(crate) const SUBMISSIONS_HELD_MAX: usize = 1_024;
/// Changes that may be held at a time, over all held submissions.
pub(crate) const CHANGES_HELD_MAX: u64 = 1_000_000;
/// Bytes of changes in one batch at most, which is what one signing request may carry. So nothing is acknowledged that
/// could not be published together with all that is held before it.
pub(crate) const BYTES_PER_BATCH_MAX: u64 = limits::SIGNING_REQUEST_BYTES_MAX;
/// A batch takes nothing further that would bring it over one of these. They keep batches quick, and short the list of
/// submissions that a signer names at fault: it travels in a header.
const BATCH: Load = Load { submissions: 1_024, changes: 100_000, bytes: 32 * 1024 * 1024 };

/// A path, for finding out whether two submissions share one: 16 bytes of its SHA-256.
pub(crate) type PathKey = [u8; 16];

/// The key of a path.
pub(crate) fn path_key(path: &TargetPath) -> PathKey {
    let mut key = PathKey::default();
    key.copy_from_slice(&path.digest().as_bytes()[..16]);
    key
}

/// How much there is of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Submissions and imports.
    pub submissions: usize,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of their parts.
    pub bytes: u64,
}

impl Load {
    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            submissions: self.submissions.saturating_add(other.submissions),
            changes: self.changes.saturating_add(other.changes),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            submissions: self.submissions.saturating_sub(other.submissions),
            changes: self.changes.saturating_sub(other.changes),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn is_within(self, bound: Self) -> bool {
        self.submissions <= bound.submissions && self.changes <= bound.changes && self.bytes <= bound.bytes
    }
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
    /// Bytes of its parts.
    pub bytes: u64,
    /// Whether it is held back until a publish is asked for.
    pub hold: bool,
    /// Its paths; may be empty for one that waits while nothing acknowledged before it is held, because then nobody asks.
    pub paths: Vec<PathKey>,
}

impl Entry {
    fn load(&self) -> Load {
        Load { submissions: 1, changes: self.changes, bytes: self.bytes }
    }
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
    /// By number.
    waiting: VecDeque<Entry>,
    waiting_load: Load,
    /// Publish requests, by number: each asks for everything held with a lower one.
    publishes: VecDeque<(u64, Uuid)>,
    held: BTreeMap<u64, Entry>,
    held_by_path: HashMap<PathKey, Vec<u64>>,
    held_load: Load,
    /// What was held of the batch under way, which may be held again.
    held_under_way: Load,
}

impl Queue {
    /// Submissions and publish requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.publishes.len()
    }

    /// Submissions that are held.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether a submission that comes now must bring its paths: some are held, or may be again.
    pub(crate) fn asks_for_paths(&self) -> bool {
        self.held_load.plus(self.held_under_way).submissions > 0
    }

    /// Tells of the batch that was under way at the start.
    pub(crate) fn set_under_way(&mut self, entry: &Entry) {
        if entry.hold {
            self.held_under_way = self.held_under_way.plus(entry.load());
        }
    }

    /// Whether so much more may come, while `waiting` and `held` are already on their way in.
    ///
    /// # Errors
    /// [`Error::Full`] names the bound.
    pub(crate) fn admit(&self, more: Load, hold: bool, waiting: Load, held: Load) -> Result<()> {
        let (waiting, held) = (self.waiting_load.plus(waiting), self.held_load.plus(self.held_under_way).plus(held));
        let check = |what, value: u64, max: u64| if value > max { Err(Error::Full { what, max }) } else { Ok(()) };
        if hold {
            let held = held.plus(more);
            check("submissions held", held.submissions as u64, SUBMISSIONS_HELD_MAX as u64)?;
            check("changes held", held.changes, CHANGES_HELD_MAX)?;
            return check("bytes held", held.bytes, BYTES_PER_BATCH_MAX);
        }
        let waiting = waiting.plus(more);
        let submissions = waiting.submissions + self.publishes.len();
        check("submissions waiting", submissions as u64, SUBMISSIONS_WAITING_MAX as u64)?;
        check("changes waiting", waiting.changes, CHANGES_WAITING_MAX)?;
        // It may have to take along all that is held now.
        check("bytes of a submission and of all that is held", held.bytes + more.bytes, BYTES_PER_BATCH_MAX)
    }

    /// Adds a submission, the latest one.
    pub(crate) fn add(&mut self, entry: Entry) {
        if entry.hold {
            self.hold(entry);
        } else {
            self.waiting_load = self.waiting_load.plus(entry.load());
            self.waiting.push_back(entry);
        }
    }

    fn hold(&mut self, entry: Entry) {
        self.held_load = self.held_load.plus(entry.load());
        for path in &entry.paths {
            self.held_by_path.entry(*path).or_default().push(entry.seq);
        }
        self.held.insert(entry.seq, entry);
    }

    /// Asks for the publication of everything held with a number below `seq`.
    pub(crate) fn publish(&mut self, seq: u64, task: Uuid) {
        self.publishes.push_back((seq, task));
    }

    /// Takes the next batch out: submissions that wait and publish requests, in the order of acknowledgement, up to the
    /// bounds of a batch. A publish request brings all that it asks for; a submission the earlier held ones that share a
    /// path with it, and so on for those. Neither is torn apart.
    pub(crate) fn take(&mut self) -> Selection {
        let mut taken: BTreeMap<u64, Entry> = BTreeMap::new();
        let mut publishes = Vec::new();
        let mut load = Load::default();
        loop {
            let submission = self.waiting.front();
            // Nothing may overtake what was acknowledged before it, so a publish request has its place in the row too.
            let publish = self.publishes.front().copied();
            let publish = publish.filter(|(seq, _)| submission.is_none_or(|submission| *seq < submission.seq));
            let (along, own) = match (publish, submission) {
                (Some((seq, _)), _) => (self.held.range(..seq).map(|(seq, _)| *seq).collect(), Load::default()),
                (None, Some(submission)) => (self.along(submission), submission.load()),
                (None, None) => break,
            };
            let held = along.iter().filter_map(|seq| self.held.get(seq)).map(Entry::load);
            let grown = held.fold(load.plus(own), Load::plus);
            if !taken.is_empty() && !grown.is_within(BATCH) {
                break;
            }
            load = grown;
            taken.extend(along.into_iter().filter_map(|seq| Some((seq, self.unhold(seq)?))));
            if publish.is_some() {
                publishes.extend(self.publishes.pop_front());
            } else if let Some(entry) = self.waiting.pop_front() {
                self.waiting_load = self.waiting_load.minus(entry.load());
                taken.insert(entry.seq, entry);
            }
        }
        self.held_under_way =
            taken.values().filter(|entry| entry.hold).map(Entry::load).fold(Load::default(), Load::plus);
        Selection { submissions: taken.into_values().collect(), publishes }
    }

    /// Held submissions that must not be published later than this one.
    fn along(&self, entry: &Entry) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut open = vec![entry];
        while let Some(entry) = open.pop() {
            for held in entry.paths.iter().filter_map(|path| self.held_by_path.get(path)).flatten() {
                if *held < entry.seq && found.insert(*held) {
                    open.extend(self.held.get(held));
                }
            }
        }
        found
    }

    fn unhold(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.held.remove(&seq)?;
        self.held_load = self.held_load.minus(entry.load());
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

    /// Puts back what was taken last, as it was: what was held is held again. Where any of it was, all must have their paths.
    pub(crate) fn put_back(&mut self, selection: Selection) {
        self.held_under_way = Load::default();
        for entry in selection.submissions.into_iter().rev() {
            if entry.hold {
                self.hold(entry);
            } else {
                self.waiting_load = self.waiting_load.plus(entry.load());
                self.waiting.push_front(entry);
            }
        }
        for publish in selection.publishes.into_iter().rev() {
            self.publishes.push_front(publish);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const PATHS: u8 = 6;

    /// What a submission is to the model: its paths and whether it is held.
    type Known = BTreeMap<u64, (bool, BTreeSet<u8>)>;

    struct Model {
        queue: Queue,
        random: StdRng,
        next: u64,
        /// Acknowledged and not finished, batches under way included.
        known: Known,
        publishes: BTreeSet<u64>,
        /// The order in which paths were changed, by number.
        applied: BTreeMap<u8, Vec<u64>>,
        finished: BTreeSet<u64>,
    }

    impl Model {
        fn new(seed: u64) -> Self {
            Self {
                queue: Queue::default(),
                random: StdRng::seed_from_u64(seed),
                next: 0,
                known: Known::new(),
                publishes: BTreeSet::new(),
                applied: BTreeMap::new(),
                finished: BTreeSet::new(),
            }
        }

        fn submit(&mut self) {
            self.next += 1;
            let hold = self.random.random_ratio(2, 5);
            let paths: BTreeSet<u8> =
                (0..self.random.random_range(1..4)).map(|_| self.random.random_range(0..PATHS)).collect();
            let changes = if self.random.random_ratio(1, 4) { BATCH.changes - 1 } else { 2 };
            let keys = paths.iter().map(|path| [*path; 16]).collect();
            let paths_known = hold || self.queue.asks_for_paths();
            self.queue.add(Entry {
                seq: self.next,
                task: Uuid::nil(),
                changes,
                bytes: 1,
                hold,
                paths: if paths_known { keys } else { Vec::new() },
            });
            self.known.insert(self.next, (hold, paths));
        }

        /// Checks a batch against the rules, in the words of the rules.
        fn check(&self, selection: &Selection) {
            let taken: BTreeSet<u64> = selection.submissions.iter().map(|entry| entry.seq).collect();
            assert!(selection.submissions.is_sorted_by_key(|entry| entry.seq));
            assert!(taken.iter().all(|seq| self.known.contains_key(seq)), "taken twice, or never acknowledged");
            for seq in &taken {
                let (hold, paths) = &self.known[seq];
                let overtaken = self
                    .known
                    .range(..*seq)
                    .find(|(earlier, (_, theirs))| !taken.contains(earlier) && !theirs.is_disjoint(paths));
                assert_eq!(overtaken, None, "{seq} overtakes");
                let asked = selection.publishes.iter().any(|(publish, _)| publish > seq);
                let shares = taken.range(seq + 1..).any(|later| !self.known[later].1.is_disjoint(paths));
                assert!(!hold || asked || shares, "{seq} is held, and nobody asked for it");
            }
            for (publish, _) in &selection.publishes {
                let left = self.known.range(..publish).find(|(seq, (hold, _))| *hold && !taken.contains(seq));
                assert_eq!(left, None, "publish {publish} leaves something held");
            }
        }

        fn batch(&mut self) {
            let before = (self.queue.waiting_load, self.queue.held_load);
            let selection = self.queue.take();
            self.check(&selection);
            if self.random.random_ratio(1, 3) {
                let known = self.known.len();
                (0..self.random.random_range(0..3)).for_each(|_| self.submit());
                let same = self.known.len() == known;
                self.give_back(selection, before, same);
                return;
            }
            for (publish, _) in &selection.publishes {
                assert!(self.publishes.remove(publish), "answered twice");
            }
            for entry in &selection.submissions {
                let (_, paths) = self.known.remove(&entry.seq).unwrap();
                paths.into_iter().for_each(|path| self.applied.entry(path).or_default().push(entry.seq));
                assert!(self.finished.insert(entry.seq), "finished twice");
            }
        }

        /// As after a refusal: one may be at fault, the others come back with their paths.
        fn give_back(&mut self, mut selection: Selection, before: (Load, Load), same: bool) {
            let fault = selection.submissions.len().checked_sub(1).filter(|_| self.random.random_ratio(1, 2));
            if let Some(last) = fault {
                let seq = selection.submissions.remove(last).seq;
                self.known.remove(&seq);
                self.finished.insert(seq);
            }
            if selection.submissions.iter().any(|entry| entry.hold) {
                for entry in &mut selection.submissions {
                    entry.paths = self.known[&entry.seq].1.iter().map(|path| [*path; 16]).collect();
                }
            }
            self.queue.put_back(selection);
            if fault.is_none() && same {
                assert_eq!((self.queue.waiting_load, self.queue.held_load), before);
            }
        }
    }

    /// Random submissions, held or not, publish requests, batches, and batches that come back: nothing is lost, nothing is
    /// taken twice, nothing overtakes on a path, and what is held stays until it is asked for.
    #[test]
    fn keeps_order_and_loses_nothing() {
        for seed in 0..300 {
            let mut model = Model::new(seed);
            for _ in 0..200 {
                match model.random.random_range(0..10) {
                    0..6 => model.submit(),
                    6 => {
                        model.next += 1;
                        model.queue.publish(model.next, Uuid::nil());
                        model.publishes.insert(model.next);
                    }
                    _ => model.batch(),
                }
            }
            model.queue.publish(u64::MAX, Uuid::nil());
            model.publishes.insert(u64::MAX);
            while !model.publishes.is_empty() {
                model.batch();
            }
            assert!(model.known.is_empty(), "seed {seed}: left behind {:?}", model.known);
            assert!(model.applied.values().all(|order| order.is_sorted()), "seed {seed}: {:?}", model.applied);
            assert_eq!((model.queue.waiting_load, model.queue.held_load), Default::default(), "seed {seed}");
            assert!(model.queue.held_by_path.is_empty(), "seed {seed}");
        }
    }

    fn entry(seq: u64, bytes: u64, hold: bool, path: u8) -> Entry {
        Entry { seq, task: Uuid::nil(), changes: 1, bytes, hold, paths: vec![[path; 16]] }
    }

    /// Whatever was admitted fits into one signing request together with all that it takes along.
    #[test]
    fn admits_only_what_can_be_published() {
        let mut queue = Queue::default();
        let none = Load::default();
        let load = |bytes| Load { submissions: 1, changes: 1, bytes };
        let most = BYTES_PER_BATCH_MAX - 10;
        queue.admit(load(most), true, none, none).unwrap();
        queue.add(entry(1, most, true, 1));
        assert!(queue.admit(load(11), false, none, none).is_err());
        assert!(queue.admit(load(6), false, none, load(5)).is_err());
        queue.admit(load(10), false, none, none).unwrap();
        queue.add(entry(2, 10, false, 1));
        // Later ones wait for their own batch.
        queue.admit(load(10), true, none, none).unwrap();
        queue.add(entry(3, 10, true, 1));
        let batch = queue.take();
        assert_eq!(batch.submissions.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
        assert!(batch.submissions.iter().map(|entry| entry.bytes).sum::<u64>() <= BYTES_PER_BATCH_MAX);

        let many = Load { submissions: SUBMISSIONS_WAITING_MAX, ..none };
        assert!(queue.admit(load(1), false, many, none).is_err());
        assert!(queue.admit(load(1), true, none, Load { submissions: SUBMISSIONS_HELD_MAX, ..none }).is_err());
    }
}
