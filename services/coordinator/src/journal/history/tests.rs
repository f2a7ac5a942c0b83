#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use proptest::prelude::*;
use rstuf_store::Options;
use rstuf_tuf::{Outcome, Sha256, TargetPath};
use uuid::Uuid;

use super::*;
use crate::{
    Error,
    journal::{
        Entry, Journal,
        rows::{Body, RequestRow, TaskKind, TaskRow, TaskState},
    },
};

const LOW: Bounds = Bounds { tasks: 1_000_000, bytes: 1 << 30, in_rows: 3, moved: 4, small_bytes: 2_500 };

fn open(dir: &Path, bounds: Bounds) -> Result<Journal> {
    let store = Store::open(Options::new(dir, "coordinator"))?;
    Journal::open_bounded(store, bounds, &Metrics::new("coordinator"))
}

async fn close(journal: Journal) {
    journal.store().clone().close().await.unwrap();
}

fn hour(number: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + number as i64 * 3_600).unwrap()
}

fn sealed(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("sealed")).into_iter().flatten();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A task, and all that is remembered with it.
#[derive(Debug, Clone, PartialEq)]
struct Remembered {
    row: TaskRow,
    results: Vec<(TargetPath, Outcome)>,
    covered: Vec<Uuid>,
}

impl Remembered {
    /// The task with this number, finished in some hour or not at all.
    fn new(number: u128, kind: TaskKind, made: u64, finished: Option<u64>, parts: u32, request: bool) -> (Uuid, Self) {
        let id = uuid::Builder::from_unix_timestamp_millis(
            hour(made).as_millisecond() as u64 + number as u64,
            &[number as u8; 10],
        );
        let id = id.into_uuid();
        let row = TaskRow {
            state: if finished.is_some() { TaskState::Done } else { TaskState::Held },
            finished: finished.map(hour),
            parts,
            request_id: if request { format!("request {number}") } else { String::new() },
            ..TaskRow::new(kind, hour(made))
        };
        let path = |at: u32| format!("{number}/{at}/{}", "x".repeat(1 + 50 * at as usize)).parse().unwrap();
        let results = (0..if finished.is_some() { parts } else { 0 }).map(|at| (path(at), Outcome::Added)).collect();
        let covered = if kind == TaskKind::Publish { vec![id] } else { Vec::new() };
        (id, Self { row, results, covered })
    }

    fn body(&self) -> Body {
        Body { digest: Sha256::of(self.row.request_id.as_bytes()), hold: false }
    }

    fn put(&self, entry: &mut Entry, id: Uuid) {
        entry.put_task(id, &self.row);
        if !self.row.request_id.is_empty() {
            entry.put_request(&self.row.request_id, &RequestRow { task: id, body: self.body() });
        }
        for (part, (path, outcome)) in (0..).zip(&self.results) {
            entry.put_results(id, part, [(path, *outcome)].into_iter());
        }
        if !self.covered.is_empty() {
            entry.put_covered(id, &self.covered);
        }
    }
}

type Model = BTreeMap<Uuid, Remembered>;

/// Everything that can be asked for is answered as by the model.
fn answers_as(journal: &Journal, model: &Model, forgotten: &Model) {
    for (id, task) in model {
        assert_eq!(journal.task(*id).unwrap().as_ref(), Some(&task.row));
        let parts = 0..task.results.len() as u32;
        let results = parts.flat_map(|part| journal.results(*id, part, 0).unwrap());
        assert_eq!(results.collect::<Result<Vec<_>>>().unwrap(), task.results);
        assert_eq!(journal.covered(*id).unwrap(), task.covered);
        if !task.row.request_id.is_empty() {
            let row = RequestRow { task: *id, body: task.body() };
            assert_eq!(journal.request(&task.row.request_id).unwrap(), Some(row));
        }
    }
    for (id, task) in forgotten {
        assert_eq!(journal.task(*id).unwrap(), None);
        assert_eq!(journal.request(&task.row.request_id).unwrap(), None);
        assert_eq!(journal.results(*id, 0, 0).unwrap().count(), 0);
    }
    for size in [1, 3, 1_000] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = journal.tasks(after, size).unwrap();
            after = page.last().map(|(id, _)| *id);
            let ended = page.len() < size;
            listed.extend(page);
            if ended {
                break;
            }
        }
        let expected = model.iter().rev().map(|(id, task)| (*id, task.row.clone()));
        assert_eq!(listed, expected.collect::<Vec<_>>(), "in pages of {size}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Some tasks are finished, which were made so many hours before.
    Finish(u8, u64, u32, bool),
    /// One is held.
    Hold(u64),
    /// So many hours go by, and the history is kept.
    Keep(u64),
    /// The process is started again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..7, 0_u64..40, 0_u32..4, any::<bool>()).prop_map(|(n, ago, parts, id)| {
            Step::Finish(n, ago, parts, id)
        }),
        1 => (0_u64..40).prop_map(Step::Hold),
        3 => prop_oneof![4 => 0_u64..9, 1 => 20_u64..400, 1 => (29_u64..33).prop_map(|days| 24 * days)]
            .prop_map(Step::Keep),
        1 => Just(Step::Restart),
    ]
}

async fn follow(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), LOW).unwrap();
    let (mut model, mut forgotten, mut now, mut number) = (Model::new(), Model::new(), 1_000, 0);
    for step in steps {
        match step {
            Step::Finish(count, ago, parts, request) => {
                let mut entry = Entry::new();
                for _ in 0..count {
                    number += 1;
                    let kind = if number % 5 == 0 { TaskKind::Publish } else { TaskKind::Submission };
                    let (id, task) = Remembered::new(number, kind, now - ago, Some(now), parts, request);
                    task.put(&mut entry, id);
                    model.insert(id, task);
                }
                journal.commit(entry).await.unwrap();
            }
            Step::Hold(ago) => {
                number += 1;
                let (id, task) = Remembered::new(number, TaskKind::Import, now - ago, None, 2, true);
                let mut entry = Entry::new();
                task.put(&mut entry, id);
                journal.commit(entry).await.unwrap();
                model.insert(id, task);
            }
            Step::Keep(hours) => {
                now += hours;
                journal.keep_history(hour(now)).await.unwrap();
                let day = |time: Timestamp| time.as_second().div_euclid(86_400);
                let old = |task: &Remembered| task.row.finished.is_some_and(|it| day(it) + 31 <= day(hour(now)));
                forgotten.extend(model.iter().filter(|(_, task)| old(task)).map(|(id, task)| (*id, task.clone())));
                model.retain(|_, task| !old(task));
            }
            Step::Restart => {
                close(journal).await;
                journal = open(dir.path(), LOW).unwrap();
            }
        }
        answers_as(&journal, &model, &forgotten);
    }
    close(journal).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever moves, merges, is dropped and started again: a history answers as a map does.
    #[test]
    fn a_history_answers_like_a_map(steps in prop::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(steps));
    }
}

/// Finishes so many tasks in this hour, with results and request ids, and keeps the history.
async fn finish(journal: &Journal, numbers: std::ops::Range<u128>, at: u64) -> Model {
    let mut model = Model::new();
    for chunk in numbers.collect::<Vec<_>>().chunks(512) {
        let mut entry = Entry::new();
        for number in chunk {
            let (id, task) = Remembered::new(*number, TaskKind::Submission, at, Some(at), 1, true);
            task.put(&mut entry, id);
            model.insert(id, task);
        }
        journal.commit(entry).await.unwrap();
        journal.keep_history(hour(at)).await.unwrap();
    }
    model
}

/// A publication works on the rows, and a start reads them all: there are as many after ten thousand finished tasks as
/// after three thousand, but for the names of files.
#[tokio::test]
async fn rows_do_not_grow_with_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), Bounds::default()).unwrap();
    let mut measured = Vec::new();
    for numbers in [0..3_072, 3_072..10_240] {
        finish(&journal, numbers, 1_000).await;
        let rows = journal.store().verify().unwrap();
        let files = journal.store().keys(HISTORY, None, usize::MAX).unwrap().len() as u64;
        measured.push((rows.rows - files, files));
    }
    assert_eq!(measured[0].0, measured[1].0);
    assert!(measured[0].0 <= 3 * (IN_ROWS + MOVED as u64), "{measured:?}");
    assert!(measured[1].1 < 2 * SMALL_FILES as u64, "{measured:?}");
}

/// The oldest are forgotten first where there are too many, or too large ones; their request ids are free again.
#[tokio::test]
async fn the_oldest_are_forgotten_before_there_are_too_many() {
    let low = Bounds { small_bytes: 0, ..LOW };
    for bounds in [Bounds { tasks: 40, ..low }, Bounds { bytes: 20_000, ..low }] {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Metrics::new("coordinator");
        let store = Store::open(Options::new(dir.path(), "coordinator")).unwrap();
        let journal = Journal::open_bounded(store, bounds, &metrics).unwrap();
        let mut all = finish(&journal, 0..60, 1_000).await;
        all.extend(finish(&journal, 60..120, 1_030).await);
        let kept: Vec<bool> = all.keys().map(|id| journal.task(*id).unwrap().is_some()).collect();
        let first = kept.iter().position(|kept| *kept).unwrap();
        assert!((20..110).contains(&first), "{bounds:?}: the first {first} are forgotten");
        assert!(kept[first..].iter().all(|kept| *kept), "{bounds:?}: {kept:?}");
        let mut forgotten = all;
        let left = forgotten.split_off(&forgotten.keys().nth(first).copied().unwrap());
        answers_as(&journal, &left, &forgotten);
        let sum: u64 = journal.history.segments().iter().map(|segment| segment.row.tasks).sum();
        assert!(sum <= bounds.tasks, "{sum}");
        let text = metrics.encode().unwrap();
        let counted = format!("{}_total{{service=\"coordinator\",because=\"bound\"}} {first}", names::TASKS_FORGOTTEN);
        assert!(text.contains(&counted), "{counted}\n{text}");
    }
}

/// What a file says is what was written, or an error: never something else, and nothing is lost silently.
#[tokio::test]
async fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), Bounds { small_bytes: 1 << 20, ..LOW }).unwrap();
    let model = finish(&journal, 0..40, 1_000).await;
    journal.keep_history(hour(1_030)).await.unwrap();
    close(journal).await;
    let files = sealed(dir.path());
    assert_eq!(files.len(), 1, "one a day once it is over");
    let whole = fs::read(&files[0]).unwrap();
    let mut told = [0, 0];
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&files[0], bytes).unwrap();
        let Ok(journal) = open(dir.path(), LOW) else {
            told[0] += 1;
            continue;
        };
        let read: Vec<_> = model.iter().map(|(id, task)| (task, journal.task(*id))).collect();
        assert!(read.iter().all(|(task, read)| match read {
            Ok(row) => row.as_ref() == Some(&task.row),
            Err(error) => matches!(error, Error::Journal { .. }),
        }));
        assert!(journal.tasks(None, 1_000).is_err() || read.iter().all(|(_, read)| read.is_ok()));
        told[1] += usize::from(read.iter().any(|(_, read)| read.is_err()));
        close(journal).await;
    }
    assert!(told[0] > 0 && told[1] > 0, "at the start, and by a reader: {told:?}");
    fs::remove_file(&files[0]).unwrap();
    let refused = open(dir.path(), LOW).err().unwrap().to_string();
    assert!(refused.contains("forget-damaged") && refused.contains("history/"), "{refused}");
}

/// Dead before the entry that names a file, or after it and before what it replaces is deleted: all is there, once.
#[tokio::test]
async fn a_death_leaves_a_step_done_or_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), LOW).unwrap();
    let mut entry = Entry::new();
    let model: Model =
        (0..20).map(|number| Remembered::new(number, TaskKind::Submission, 1_000, Some(1_000), 2, true)).collect();
    model.iter().for_each(|(id, task)| task.put(&mut entry, *id));
    journal.commit(entry).await.unwrap();
    assert!(journal.plan_move(keep::day(hour(1_000))).unwrap().is_some());
    close(journal).await;
    assert_eq!(sealed(dir.path()).len(), 1);
    let journal = open(dir.path(), LOW).unwrap();
    answers_as(&journal, &model, &Model::new());
    assert!(sealed(dir.path()).is_empty(), "what nothing names is deleted");

    journal.keep_history(hour(1_000)).await.unwrap();
    let before: Vec<_> = sealed(dir.path()).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert!(before.len() > 1);
    journal.keep_history(hour(1_030)).await.unwrap();
    close(journal).await;
    let after = sealed(dir.path());
    before.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
    let journal = open(dir.path(), LOW).unwrap();
    answers_as(&journal, &model, &Model::new());
    assert_eq!(sealed(dir.path()), after);
}

mod damage;
mod disks;
