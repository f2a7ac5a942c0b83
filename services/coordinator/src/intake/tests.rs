#![allow(clippy::unwrap_used, clippy::panic)]

mod cancel;
mod import;
mod retry;

use std::{path::Path, pin::pin, time::Duration};

use futures::poll;
use rstuf_store::{Options, Store};
use rstuf_tuf::{Change, TargetPath};

use super::{door::DOOR_MAX, *};
use crate::{
    Error,
    handles::testing::handles,
    journal::{EncodedChanges, rows::TaskState},
    publisher::{DirectoryPublisher, Publisher},
};

/// An intake over what is in `dir`; it acknowledges only while its task runs.
async fn load(dir: &Path) -> (Intake, IntakeTask, Store) {
    load_measured(dir, &Metrics::new("coordinator")).await
}

async fn load_measured(dir: &Path, metrics: &Metrics) -> (Intake, IntakeTask, Store) {
    let store = Store::open(Options::new(dir.join("state"), "coordinator")).unwrap();
    load_over(dir, store, metrics).await
}

async fn load_over(dir: &Path, store: Store, metrics: &Metrics) -> (Intake, IntakeTask, Store) {
    let publisher: Arc<dyn Publisher> =
        Arc::new(DirectoryPublisher::open(&dir.join("published"), "this test").unwrap());
    let handles = handles(store.clone(), publisher, metrics);
    let (intake, task) = Intake::load(&handles, metrics).await.unwrap();
    (intake, task, store)
}

fn removals(prefix: &str, count: usize) -> Vec<Change> {
    let path = |number| TargetPath::try_from(format!("{prefix}/{number}").as_str()).unwrap();
    (0..count).map(|number| Change::Remove { path: path(number) }).collect()
}

fn submission(prefix: &str, count: usize) -> Submission {
    Submission::of(&removals(prefix, count), true)
}

/// Lets everything that waits at the door in, and ends.
async fn let_in(intake: Intake, task: IntakeTask, store: Store) {
    drop(intake);
    tokio::time::timeout(Duration::from_secs(10), task.run()).await.unwrap().unwrap();
    store.close().await.unwrap();
}

fn changes_of(intake: &Intake, entry: &queue::Entry) -> Vec<Change> {
    let journal = &intake.state.journal;
    let task = journal.submission(entry.seq).unwrap();
    let part = |part| journal.changes(entry.task, part).unwrap();
    (0..task.parts).flat_map(part).collect()
}

/// A caller that gives up while an import is being opened, at whatever moment, leaves no place taken.
#[tokio::test]
async fn who_gives_up_while_opening_leaves_nothing_open() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    for polls in 0..200 {
        let mut opening = pin!(intake.import(None, false));
        for _ in 0..polls {
            if poll!(&mut opening).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let deleted = async {
        while !intake.state.journal.imports().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), deleted).await.expect("an import that nobody has stays open");
    let_in(intake, task, store).await;
}

/// While one import is being changed, others are opened, changed and committed, and all are looked up. Two that change
/// the same one at the same time do it one after the other.
#[tokio::test]
async fn no_import_waits_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let (imports, id) = (intake.imports(), || Some("busy".parse().unwrap()));
    let part = |prefix| EncodedChanges::of(&removals(prefix, 1));
    let busy = imports.create(id(), false, false).await.unwrap();
    let turn = intake.state.open.turn(busy.id).await.unwrap();
    let others = async {
        let other = imports.create(None, false, false).await.unwrap();
        imports.append(other.id, 0, part("a")).await.unwrap();
        assert_eq!(imports.commit(other.id, None).await.unwrap(), other.id);
        assert_eq!(imports.get(busy.id).unwrap(), busy);
        assert_eq!(imports.create(id(), false, false).await.unwrap(), busy);
    };
    tokio::time::timeout(Duration::from_secs(20), others).await.expect("they wait for an import that is not theirs");
    let released = async { drop(turn) };
    let (first, second) = (imports.append(busy.id, 0, part("b")), imports.append(busy.id, 0, part("c")));
    let (first, second, ()) = tokio::join!(first, second, released);
    assert_eq!(first.unwrap().next_offset, 1);
    assert!(matches!(second, Err(Error::ImportOffset { next_offset: 1, .. })), "{second:?}");
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}

/// A caller that hangs up while its import is being acknowledged takes nothing back: what is journalled is whole. One
/// that hangs up earlier leaves nothing.
#[tokio::test]
async fn imports_are_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let all = removals("a", 25_000);
    let mut import = intake.import(None, false).await.unwrap();
    for part in all.chunks(7_000) {
        import.add(&EncodedChanges::of(part)).await.unwrap();
    }
    let mut broken = intake.import(None, false).await.unwrap();
    broken.add(&EncodedChanges::of(&removals("b", 10_000))).await.unwrap();
    assert!(!intake.state.journal.parts().unwrap().is_empty());
    {
        // The last part is journalled, then the request stands at the door; then the caller is gone.
        let mut close = pin!(import.close());
        while intake.door.knocks.capacity() == DOOR_MAX {
            assert!(poll!(&mut close).is_pending());
            tokio::task::yield_now().await;
        }
    }
    drop(broken);
    let_in(intake, task, store).await;

    let (intake, _task, _store) = load(dir.path()).await;
    let taken = intake.take().submissions;
    assert_eq!(taken.len(), 1);
    assert_eq!(changes_of(&intake, &taken[0]), all);
    let parts = intake.state.journal.parts().unwrap();
    assert!(parts.iter().all(|(task, _)| *task == taken[0].task), "parts of the broken import are left");
}

/// The same request twice, also at the same time, is one submission; nobody is answered before it is journalled.
/// Another body is refused.
#[tokio::test]
async fn a_request_id_stands_for_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let mut answers = Vec::new();
    for (count, hold) in [(3, false), (3, false), (2, false), (3, true)] {
        let submitting = intake.clone();
        answers.push(tokio::spawn(async move {
            submitting.submit(Some("id".parse().unwrap()), submission("a", count), hold).await
        }));
        // One behind the other at the door.
        while DOOR_MAX - intake.door.knocks.capacity() < answers.len() {
            tokio::task::yield_now().await;
        }
    }
    let journal = intake.state.journal.clone();
    let answers = async {
        let mut answered = Vec::new();
        for answer in answers {
            answered.push(answer.await.unwrap());
        }
        let [Ok(first), Ok(again), refused @ ..] = &answered[..] else { panic!("{answered:?}") };
        let (first, again) = (*first, *again);
        assert_eq!(again, first);
        assert!(journal.task(first).unwrap().is_some());
        for refused in refused {
            assert!(matches!(refused, Err(Error::RequestIdUsed { .. })), "{refused:?}");
        }
        let mut import = intake.import(Some("id".parse().unwrap()), false).await.unwrap();
        let all = removals("a", 3);
        import.add(&EncodedChanges::of(&all[..1])).await.unwrap();
        import.add(&EncodedChanges::of(&all[1..])).await.unwrap();
        assert_eq!(import.close().await.unwrap(), first, "however it was sent");
        first
    };
    let running = tokio::spawn(task.run());
    let first = answers.await;
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
    drop(journal);

    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    assert_eq!(intake.submit(Some("id".parse().unwrap()), submission("a", 3), false).await.unwrap(), first);
    assert_eq!(intake.take().submissions.len(), 1);
    assert_eq!(intake.take(), queue::Selection::default());
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}

/// An import and a submission that want one request id at the same time: one has it, and the import can then be
/// committed.
#[tokio::test]
async fn one_of_import_and_submission_has_the_request_id() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let (imports, mut opened) = (intake.imports(), 0);
    for round in 0..50 {
        let id = || Some(format!("round {round}").parse().unwrap());
        let submitting = async {
            // A head start of some steps for the import.
            for _ in 0..round % 10 {
                tokio::task::yield_now().await;
            }
            intake.submit(id(), submission("a", 1), false).await
        };
        let (import, submitted) = tokio::join!(imports.create(id(), false, false), submitting);
        match (import, submitted) {
            (Ok(import), Err(Error::RequestIdOpen { .. })) => {
                opened += 1;
                imports.append(import.id, 0, EncodedChanges::of(&removals("b", 1))).await.unwrap();
                assert_eq!(imports.commit(import.id, None).await.unwrap(), import.id);
            }
            both => assert!(matches!(both, (Err(Error::RequestIdUsed { .. }), Ok(_))), "{both:?}"),
        }
    }
    assert!(opened > 0, "no import was ever first");
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}

/// A start finds the same queue again: order, what is held, and what takes it along, though an import was open when the
/// held one came, so that its first messages knew nothing of it.
#[tokio::test]
async fn a_start_finds_the_queue_again() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let mut import = intake.import(None, false).await.unwrap();
    import.add(&EncodedChanges::of(&removals("a", 10_000))).await.unwrap();
    let held = intake.submit(None, submission("a", 1), true).await.unwrap();
    let other = intake.submit(None, submission("b", 1), true).await.unwrap();
    import.add(&EncodedChanges::of(&removals("c", 1))).await.unwrap();
    let import = import.close().await.unwrap();
    let late = intake.submit(None, submission("d", 1), false).await.unwrap();
    let before = intake.take();
    let tasks: Vec<Uuid> = before.submissions.iter().map(|entry| entry.task).collect();
    assert_eq!(tasks, [held, import, late]);
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();

    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let again = intake.take();
    assert_eq!(again.submissions.iter().map(|entry| entry.task).collect::<Vec<_>>(), tasks);
    let publish = intake.publish(None).await.unwrap();
    let last = intake.take();
    assert_eq!(last.submissions.iter().map(|entry| entry.task).collect::<Vec<_>>(), [other]);
    assert_eq!(last.publishes.iter().map(|(_, task)| *task).collect::<Vec<_>>(), [publish]);
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}

/// What is held waits for nobody; what is to be published does, a publish request too.
#[tokio::test]
async fn the_oldest_to_publish_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let journal = intake.state.journal.clone();
    intake.submit(None, submission("a", 1), true).await.unwrap();
    assert_eq!(journal.oldest_to_publish(), None);
    let publish = intake.publish(None).await.unwrap();
    assert_eq!(journal.oldest_to_publish(), Some(publish));
    let first = intake.submit(None, submission("b", 1), false).await.unwrap();
    assert_eq!(journal.oldest_to_publish(), Some(publish.min(first)));
    drop((intake, journal));
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}
