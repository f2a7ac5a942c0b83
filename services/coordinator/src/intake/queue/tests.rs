#![allow(clippy::unwrap_used)]
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

const PATHS: u8 = 6;

/// What a submission is to the model: its paths and whether it is held.
type Known = BTreeMap<u64, (bool, BTreeSet<u8>)>;

fn task(seq: u64) -> Uuid {
    Uuid::from_u128(seq.into())
}

struct Model {
    queue: Queue,
    random: StdRng,
    next: u64,
    /// Acknowledged and not finished, batches under way included.
    known: Known,
    publishes: BTreeSet<u64>,
    /// What is set aside, with its paths.
    aside: BTreeMap<u64, BTreeSet<u8>>,
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
            aside: BTreeMap::new(),
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
            task: task(self.next),
            changes,
            bytes: 1,
            hold,
            standing: Standing::Trusted,
            paths: if paths_known { keys } else { Vec::new() },
        });
        self.known.insert(self.next, (hold, paths));
    }

    fn publish(&mut self, seq: u64) {
        self.queue.publish(seq, task(seq));
        self.publishes.insert(seq);
    }

    /// Cancels a few at once, which may be in no place to be cancelled; sometimes that can't be journalled.
    fn cancel(&mut self) {
        let mut places = BTreeMap::new();
        for _ in 0..self.random.random_range(1..=3) {
            let seq = self.random.random_range(0..=self.next);
            let place = self.queue.freeze(task(seq));
            let expected = match (self.known.contains_key(&seq), self.publishes.contains(&seq)) {
                (true, _) => Some(Place::Submission(seq)),
                (_, true) => Some(Place::Publish(seq)),
                _ => self.aside.contains_key(&seq).then_some(Place::SetAside(seq)),
            };
            assert_eq!(place, expected);
            places.extend(place.map(|place| (seq, place)));
        }
        if places.is_empty() {
            return;
        }
        self.submit();
        assert_eq!(self.queue.take(), Selection::default(), "taken while a removal is being journalled");
        if self.random.random_ratio(1, 3) {
            return self.queue.thaw([]);
        }
        self.queue.thaw(places.values().copied());
        for seq in places.keys() {
            self.known.remove(seq);
            self.publishes.remove(seq);
            self.aside.remove(seq);
        }
    }

    /// Retries what was set aside first: it is acknowledged now.
    fn retry(&mut self) {
        let Some((seq, paths)) = self.aside.pop_first() else { return };
        self.next += 1;
        let entry = self.queue.set_aside.take(seq).unwrap();
        let keys =
            if self.queue.asks_for_paths() { paths.iter().map(|path| [*path; 16]).collect() } else { Vec::new() };
        let (task, standing) = (task(self.next), Standing::Suspect(1));
        self.queue.add(Entry { seq: self.next, task, standing, paths: keys, ..entry });
        self.known.insert(self.next, (false, paths));
    }

    /// As after a refusal that names nobody: what is not alone is asked for in smaller company, the others are set
    /// aside.
    fn doubt(&mut self, mut selection: Selection) {
        let count = selection.submissions.len();
        let alone = count == 1 && selection.is_suspect();
        for entry in &mut selection.submissions {
            (entry.hold, entry.standing) = (false, Standing::Suspect((count / 2).max(1)));
            entry.paths.clear();
            let known = self.known.get_mut(&entry.seq).unwrap();
            known.0 = false;
        }
        for entry in selection.submissions.extract_if(.., |_| alone) {
            let (_, paths) = self.known.remove(&entry.seq).unwrap();
            self.aside.insert(entry.seq, paths);
            self.queue.set_aside.put(entry);
        }
        self.queue.put_back(selection);
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
        let company = selection.submissions.iter().map(Entry::together_max).min().unwrap_or(usize::MAX);
        let own = selection.submissions.iter().filter(|entry| !entry.hold).count();
        assert!(own <= company, "{own} together, of {company}");
        for (publish, _) in &selection.publishes {
            let left = self.known.range(..publish).find(|(seq, (hold, _))| *hold && !taken.contains(seq));
            assert_eq!(left, None, "publish {publish} leaves something held");
        }
    }

    fn batch(&mut self) {
        let before = (self.queue.waiting_load, self.queue.held_load);
        let selection = self.queue.take();
        self.check(&selection);
        if self.random.random_ratio(1, 4) {
            return self.doubt(selection);
        }
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
            selection = selection.without_newcomers();
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

/// Random submissions, held or not, publish requests, cancellations, batches, batches that come back, and retries of
/// what was refused: nothing is lost, nothing is taken twice, nothing overtakes on a path, and what is held stays until
/// it is asked for.
#[test]
fn keeps_order_and_loses_nothing() {
    for seed in 0..300 {
        let mut model = Model::new(seed);
        for _ in 0..200 {
            match model.random.random_range(0..12) {
                0..6 => model.submit(),
                6 => {
                    model.next += 1;
                    model.publish(model.next);
                }
                7 => model.cancel(),
                8 => model.retry(),
                _ => model.batch(),
            }
        }
        model.publish(u64::MAX);
        while !model.publishes.is_empty() {
            model.batch();
        }
        assert_eq!(model.queue.set_aside.len(), model.aside.len(), "seed {seed}");
        assert!(model.known.is_empty(), "seed {seed}: left behind {:?}", model.known);
        assert!(model.applied.values().all(|order| order.is_sorted()), "seed {seed}: {:?}", model.applied);
        assert_eq!((model.queue.waiting_load, model.queue.held_load), Default::default(), "seed {seed}");
        assert!(model.queue.held_by_path.is_empty(), "seed {seed}");
    }
}

fn entry(seq: u64, bytes: u64, hold: bool, path: u8) -> Entry {
    Entry { seq, task: Uuid::nil(), changes: 1, bytes, hold, standing: Standing::Trusted, paths: vec![[path; 16]] }
}

/// What was in a batch with one that is refused is not asked for with the next such, however many come.
#[test]
fn what_is_left_of_a_refused_batch_goes_without_newcomers() {
    let mut queue = Queue::default();
    let seqs = |batch: &Selection| batch.submissions.iter().map(|entry| entry.seq).collect::<Vec<_>>();
    [entry(1, 1, true, 1), entry(2, 1, false, 1), entry(3, 1, false, 2)].into_iter().for_each(|it| queue.add(it));
    let mut batch = queue.take();
    assert_eq!(seqs(&batch), [1, 2, 3]);
    batch.submissions.pop();
    queue.put_back(batch.without_newcomers());
    [entry(4, 1, false, 2), entry(5, 1, false, 3)].into_iter().for_each(|it| queue.add(it));
    assert_eq!(seqs(&queue.take()), [1, 2]);
    assert_eq!(seqs(&queue.take()), [4, 5]);
}

/// Whatever was admitted fits into one signing request together with all that it takes along; what is held leaves half
/// of one to what is not.
#[test]
fn admits_only_what_can_be_published() {
    let mut queue = Queue::default();
    let none = Load::default();
    let load = |bytes| Load { submissions: 1, changes: 1, bytes };
    let half = BYTES_PER_BATCH_MAX / 2;
    queue.admit(load(half - 10), true, none, none).unwrap();
    queue.add(entry(1, half - 10, true, 1));
    assert!(queue.admit(load(11), true, none, none).is_err());
    let (same, other) = ([[1; 16]], [[2; 16]]);
    assert!(queue.admit_along(load(half + 11), Some(&same), none).is_err());
    assert!(queue.admit_along(load(half + 11), None, none).is_err());
    assert!(queue.admit_along(load(half + 6), Some(&same), load(5)).is_err());
    // What is held is in nobody's way who has other paths.
    queue.admit_along(load(2 * half), Some(&other), none).unwrap();
    queue.admit_along(load(half + 10), Some(&same), none).unwrap();
    queue.add(entry(2, half + 10, false, 1));
    // Later ones wait for their own batch.
    queue.admit(load(10), true, none, none).unwrap();
    queue.add(entry(3, 10, true, 1));
    let batch = queue.take();
    assert_eq!(batch.submissions.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    assert!(batch.submissions.iter().map(|entry| entry.bytes).sum::<u64>() <= BYTES_PER_BATCH_MAX);

    // What waits for a person leaves room, until it is too much; then it can be retried, and nothing new comes.
    let mut queue = Queue::default();
    for seq in 0..=1_024 {
        queue.admit(load(1), seq % 2 == 0, none, none).unwrap();
        queue.set_aside.put(entry(seq, 1, false, 1));
    }
    assert!(matches!(queue.admit(load(1), false, none, none), Err(Error::SetAsideFull { max: 1_024, .. })));
    assert!(matches!(queue.admit(load(1), true, none, none), Err(Error::SetAsideFull { .. })));
    queue.admit_retried(&entry(1, 1, false, 1)).unwrap();
    queue.set_aside.take(0).unwrap();
    queue.admit(load(1), false, none, none).unwrap();

    let many = Load { submissions: SUBMISSIONS_WAITING_MAX, ..none };
    assert!(queue.admit(load(1), false, many, none).is_err());
    assert!(queue.admit(load(1), false, load(BYTES_WAITING_MAX), none).is_err());
    assert!(queue.admit(load(1), false, Load { changes: CHANGES_WAITING_MAX, ..none }, none).is_err());
    assert!(queue.admit(load(1), true, none, Load { submissions: SUBMISSIONS_HELD_MAX, ..none }).is_err());
    assert!(queue.admit(load(1), true, none, Load { changes: CHANGES_HELD_MAX, ..none }).is_err());
}
