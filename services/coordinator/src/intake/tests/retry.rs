//! Retrying what is set aside.

use super::*;
use crate::journal::{
    Entry,
    rows::{Standing, SubmissionRow, TaskRow},
};

/// What was taken last is refused for good.
async fn set_aside(intake: &Intake, taken: queue::Entry) {
    let journal = &intake.state.journal;
    let (standing, state) = (Standing::SetAside, TaskState::SetAside);
    let mut entry = Entry::new();
    let submission = journal.submission(taken.seq).unwrap();
    entry.put_submission(taken.seq, &SubmissionRow { standing, ..submission });
    let row = journal.named_task(taken.task).unwrap();
    entry.put_task(taken.task, &TaskRow { state, ..row });
    journal.commit(entry).await.unwrap();
    intake.put_aside(queue::Entry { standing, ..taken });
}

/// Asked for once more, it is back once, and whoever asks again, also while it is under way, is told so. What was not
/// set aside is neither retried nor released by that.
#[tokio::test]
async fn who_retries_again_is_answered_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let id = intake.submit(None, submission("a", 1), false).await.unwrap();
    let held = intake.submit(None, submission("b", 1), true).await.unwrap();
    let taken = intake.take().submissions.pop().unwrap();
    set_aside(&intake, taken).await;
    assert!(intake.take().submissions.is_empty());

    for _ in 0..2 {
        intake.retry(id).await.unwrap();
    }
    let taken = intake.take().submissions;
    assert_eq!(taken.iter().map(|entry| entry.task).collect::<Vec<_>>(), [id]);
    intake.retry(id).await.unwrap();
    assert!(intake.take().submissions.is_empty(), "it is under way");
    let refused = intake.retry(held).await;
    assert!(matches!(refused, Err(Error::TaskNotSetAside { .. })), "{refused:?}");
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}
