//! Acknowledged submissions that are not finished, in memory: what waits for a batch, what is held, and what is set
//! aside.
//!
//! Only numbers stand here; the changes are in the journal. Each is bounded.

mod aside;
mod entry;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rstuf_api::limits;
use rstuf_tuf::{Change, TargetPath};
use uuid::Uuid;

use crate::{Error, Result, journal::rows::Standing};
use aside::SetAside;
pub(crate) use entry::{Entry, Load, PathKey};

/// Submissions that may wait at a time; the next one is refused.
pub(crate) const SUBMISSIONS_WAITING_MAX: usize = 4_096;
/// Changes that may wait at a time, over all waiting submissions.
pub(crate) const CHANGES_WAITING_MAX: u64 = 20_000_000;
/// Bytes of changes that may wait at a time, over all waiting submissions.
pub(crate) const BYTES_WAITING_MAX: u64 = 8 * BYTES_PER_BATCH_MAX;
/// Submissions that may be held at a time: one publish request takes them all into one batch.
pub(crate) const SUBMISSIONS_HELD_MAX: usize = 1_024;
/// Changes that may be held at a time, over all held submissions.
pub(crate) const CHANGES_HELD_MAX: u64 = 1_000_000;
/// Bytes of changes in one batch at most, which is what one signing request may carry. So nothing is acknowledged that
/// could not be published together with what is held of its paths before it.
pub(crate) const BYTES_PER_BATCH_MAX: u64 = limits::SIGNING_REQUEST_BYTES_MAX;
/// Bytes of changes that may be held at a time. The other half is left to what does not wait for anybody, and has to
/// take along what is held of its paths before it.
pub(crate) const BYTES_HELD_MAX: u64 = BYTES_PER_BATCH_MAX / 2;
/// A batch takes nothing further that would bring it over one of these. They keep batches quick, and short the list of
/// submissions that a signer names at fault: it travels in a header.
const BATCH: Load = Load { submissions: 1_024, changes: 100_000, bytes: 32 * 1024 * 1024 };

pub(crate) fn path_key(path: &TargetPath) -> PathKey {
    let mut key = PathKey::default();
    key.copy_from_slice(&path.digest().as_bytes()[..16]);
    key
}

/// The keys of their paths.
pub(crate) fn paths(changes: &[Change]) -> Vec<PathKey> {
    changes.iter().map(|change| path_key(change.path())).collect()
}

/// What the next batch consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// In the order of acknowledgement.
    pub submissions: Vec<Entry>,
    /// Publish requests that are answered by it, by number.
    pub publishes: Vec<(u64, Uuid)>,
}

impl Selection {
    /// The tasks that follow it.
    pub(crate) fn tasks(&self) -> Vec<Uuid> {
        let submissions = self.submissions.iter().map(|entry| entry.task);
        submissions.chain(self.publishes.iter().map(|(_, task)| *task)).collect()
    }

    /// Whether a batch with one of them was refused.
    pub(crate) fn is_suspect(&self) -> bool {
        self.submissions.iter().any(|entry| entry.standing != Standing::Trusted)
    }

    /// What is left of a batch that was refused for others in it, to be asked for without newcomers: they may be
    /// refused too, and so on for as long as somebody sends such.
    pub(crate) fn without_newcomers(mut self) -> Self {
        let together = self.submissions.len();
        for entry in &mut self.submissions {
            entry.standing = Standing::Suspect(entry.together_max().min(together));
        }
        self
    }
}

/// What a task has in the queue, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A submission, waiting or held.
    Submission(u64),
    /// A publish request.
    Publish(u64),
    /// A submission that is set aside.
    SetAside(u64),
}

fn check(what: &'static str, value: u64, max: u64) -> Result<()> {
    if value > max { Err(Error::Full { what, max }) } else { Ok(()) }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// While removals are being journalled nothing is taken out: were they to fail, what was taken meanwhile might have
    /// overtaken them.
    frozen: bool,
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
    /// What a signer refuses.
    pub(crate) set_aside: SetAside,
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

    /// Whether what is taken next is suspect.
    pub(crate) fn is_suspect(&self) -> bool {
        self.waiting.front().is_some_and(|entry| entry.standing != Standing::Trusted)
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
    /// [`Error::Full`] and [`Error::SetAsideFull`] name the bound.
    pub(crate) fn admit(&self, more: Load, hold: bool, waiting: Load, held: Load) -> Result<()> {
        self.set_aside.admit()?;
        self.admit_again(more, hold, waiting, held)
    }

    /// Whether one that is set aside may come back.
    ///
    /// # Errors
    /// [`Error::Full`] names the bound.
    pub(crate) fn admit_retried(&self, entry: &Entry) -> Result<()> {
        self.admit_again(entry.load(), false, Load::default(), Load::default())?;
        self.admit_along(entry.load(), None, Load::default())
    }

    fn admit_again(&self, more: Load, hold: bool, waiting: Load, held: Load) -> Result<()> {
        let (waiting, held) = (self.waiting_load.plus(waiting), self.held_load.plus(self.held_under_way).plus(held));
        if hold {
            let held = held.plus(more);
            check("submissions held", held.submissions as u64, SUBMISSIONS_HELD_MAX as u64)?;
            check("changes held", held.changes, CHANGES_HELD_MAX)?;
            return check("bytes held", held.bytes, BYTES_HELD_MAX);
        }
        let waiting = waiting.plus(more);
        let submissions = waiting.submissions + self.publishes.len();
        check("submissions waiting", submissions as u64, SUBMISSIONS_WAITING_MAX as u64)?;
        check("changes waiting", waiting.changes, CHANGES_WAITING_MAX)?;
        check("bytes waiting", waiting.bytes, BYTES_WAITING_MAX)
    }

    /// Whether a submission that is not held fits into one batch with what it has to take along: the held ones that
    /// share a path with it. Those of the batch under way may, and so may `held` that are on their way in; where its
    /// paths are not known, all.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub(crate) fn admit_along(&self, more: Load, paths: Option<&[PathKey]>, held: Load) -> Result<()> {
        let load = |seq| self.held.get(&seq).map_or(Load::default(), Entry::load);
        let along = match paths {
            Some(paths) => self.along(u64::MAX, paths).into_iter().map(load).fold(Load::default(), Load::plus),
            None => self.held_load,
        };
        let all = more.plus(along).plus(self.held_under_way).plus(held);
        check("bytes of a submission and of what is held of its paths", all.bytes, BYTES_PER_BATCH_MAX)
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
    /// bounds of a batch. A publish request brings all that it asks for; a submission the earlier held ones that share
    /// a path with it, and so on for those. Neither is torn apart. What is suspect is in no larger company than it may
    /// be.
    pub(crate) fn take(&mut self) -> Selection {
        if self.frozen {
            return Selection::default();
        }
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
                (None, Some(submission)) => (self.along(submission.seq, &submission.paths), submission.load()),
                (None, None) => break,
            };
            let held = along.iter().filter_map(|seq| self.held.get(seq));
            let grown = held.clone().map(Entry::load).fold(load.plus(own), Load::plus);
            let alone = publish.is_none().then_some(submission).flatten();
            let all = taken.values().chain(held).chain(alone);
            let company = all.map(Entry::together_max).min().unwrap_or(usize::MAX);
            if !taken.is_empty() && (!grown.is_within(BATCH) || grown.submissions > company) {
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

    /// Finds what a task has in the queue; if there is anything, nothing is taken until [`Queue::thaw`].
    pub(crate) fn freeze(&mut self, task: Uuid) -> Option<Place> {
        let is_it = |entry: &&Entry| entry.task == task;
        let submission = self.waiting.iter().find(is_it).or_else(|| self.held.values().find(is_it));
        let publish = || self.publishes.iter().find(|(_, publish)| *publish == task);
        let place = submission.map(|entry| Place::Submission(entry.seq));
        let place = place.or_else(|| publish().map(|(seq, _)| Place::Publish(*seq)));
        let place = place.or_else(|| self.set_aside.find(task).map(|entry| Place::SetAside(entry.seq)));
        self.frozen |= place.is_some();
        place
    }

    /// Goes on after [`Queue::freeze`], without what is named.
    pub(crate) fn thaw(&mut self, removed: impl IntoIterator<Item = Place>) {
        self.frozen = false;
        for place in removed {
            match place {
                Place::Publish(seq) => self.publishes.retain(|(publish, _)| *publish != seq),
                Place::SetAside(seq) => drop(self.set_aside.take(seq)),
                Place::Submission(seq) => {
                    let waiting = self.waiting.binary_search_by_key(&seq, |entry| entry.seq).ok();
                    match waiting.and_then(|index| self.waiting.remove(index)) {
                        Some(entry) => self.waiting_load = self.waiting_load.minus(entry.load()),
                        None => drop(self.unhold(seq)),
                    }
                }
            }
        }
    }

    /// Held submissions that must not be published later than the one with this number and these paths.
    fn along(&self, seq: u64, paths: &[PathKey]) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut open = vec![(seq, paths)];
        while let Some((seq, paths)) = open.pop() {
            for held in paths.iter().filter_map(|path| self.held_by_path.get(path)).flatten() {
                if *held < seq && found.insert(*held) {
                    open.extend(self.held.get(held).map(|entry| (entry.seq, entry.paths.as_slice())));
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

    /// Puts back what was taken last, as it was: what was held is held again. Where any of it was, all must have their
    /// paths.
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
mod tests;
