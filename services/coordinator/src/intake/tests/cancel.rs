//! Cancelling.

use super::*;

/// What is in a batch is not cancelled, whatever was answered stays true after a start, and the space is free again.
#[tokio::test]
async fn cancelled_is_gone_and_what_is_taken_is_not_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let waiting = intake.submit(None, submission("a", 3), false).await.unwrap();
    let held = intake.submit(None, submission("b", 3), true).await.unwrap();
    let publish = intake.publish(None).await.unwrap();
    let kept = intake.submit(None, submission("c", 3), false).await.unwrap();
    for id in [waiting, held, publish, waiting] {
        intake.cancel(id).await.unwrap();
    }
    assert!(matches!(intake.cancel(Uuid::max()).await, Err(Error::NoTask { .. })));
    let parts: Vec<Uuid> = intake.state.journal.parts().unwrap().into_iter().map(|(task, _)| task).collect();
    assert_eq!(parts, [kept]);
    let taken = intake.take();
    assert_eq!(taken.submissions.iter().map(|entry| entry.task).collect::<Vec<_>>(), [kept]);
    assert_eq!(taken.publishes, []);
    assert!(matches!(intake.cancel(kept).await, Err(Error::TaskRunning { .. })));
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();

    let (intake, _task, _store) = load(dir.path()).await;
    assert_eq!(intake.take().submissions.iter().map(|entry| entry.task).collect::<Vec<_>>(), [kept]);
    assert_eq!(intake.take(), queue::Selection::default());
    for id in [waiting, held, publish] {
        assert_eq!(intake.state.journal.task(id).unwrap().unwrap().state, TaskState::Cancelled);
    }
}

/// Cancellations that stand at the door together go with one fsync, and each is answered for itself, also where one is
/// asked for twice. After a start a number that was given to what is cancelled is given again, and does no harm.
#[tokio::test]
async fn many_are_cancelled_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new("coordinator");
    let (intake, task, store) = load_measured(dir.path(), &metrics).await;
    let running = tokio::spawn(task.run());
    let submit = async |prefix, hold| intake.submit(None, submission(prefix, 3), hold).await.unwrap();
    let (kept, held, waiting) = (submit("a", false).await, submit("b", true).await, submit("c", false).await);
    let dropped = [held, waiting, intake.publish(None).await.unwrap()];
    let commits = || {
        let (text, name) = (metrics.encode().unwrap(), format!("{}_count", names::STORE_COMMIT_SECONDS));
        let line = text.lines().find(|line| line.starts_with(&name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = commits();
    let [one, two, three] = dropped.map(|id| intake.cancel(id));
    let (again, unknown) = (intake.cancel(dropped[0]), intake.cancel(Uuid::max()));
    let (one, two, three, again, unknown) = tokio::join!(one, two, three, again, unknown);
    for answer in [one, two, three, again] {
        answer.unwrap();
    }
    assert!(matches!(unknown, Err(Error::NoTask { .. })));
    assert_eq!(commits(), before + 1);
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();

    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let later = intake.submit(None, submission("d", 3), false).await.unwrap();
    let taken = intake.take();
    assert_eq!(
        taken.submissions.iter().map(|entry| (entry.seq, entry.task)).collect::<Vec<_>>(),
        [(1, kept), (2, later)]
    );
    assert_eq!((changes_of(&intake, &taken.submissions[1]), taken.publishes), (removals("d", 3), vec![]));
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}
