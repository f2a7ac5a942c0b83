//! Disks that are full, and that need not be asked.

use super::*;
use crate::journal::testing::Disk;

fn open_counted(dir: &Path) -> (Arc<Disk>, Journal) {
    let (disk, store) = Disk::open(dir, "");
    (disk, Journal::open_bounded(store, LOW, &Metrics::new("coordinator")).unwrap())
}

#[tokio::test]
async fn a_full_disk_leaves_everything_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, journal) = open_counted(dir.path());
    let mut entry = Entry::new();
    let model: Model =
        (0..20).map(|number| Remembered::new(number, TaskKind::Submission, 1_000, Some(1_000), 2, true)).collect();
    model.iter().for_each(|(id, task)| task.put(&mut entry, *id));
    journal.commit(entry).await.unwrap();
    for hours in [1_000, 1_030] {
        disk.set_full(true);
        let before = sealed(dir.path());
        assert!(journal.keep_history(hour(hours)).await.is_err_and(|error| error.is_no_space()));
        assert_eq!(sealed(dir.path()), before);
        answers_as(&journal, &model, &Model::new());
        disk.set_full(false);
        journal.keep_history(hour(hours)).await.unwrap();
        answers_as(&journal, &model, &Model::new());
    }
}

/// Whoever watches a task that is not finished, or asks for it, makes nobody read the store, also after a restart.
#[tokio::test]
async fn what_is_not_finished_is_answered_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (held, waits) = Remembered::new(1, TaskKind::Import, 1_000, None, 1, true);
    let (done, ended) = Remembered::new(2, TaskKind::Import, 1_000, Some(1_000), 1, true);
    let journal = open(dir.path(), LOW).unwrap();
    let mut entry = Entry::new();
    waits.put(&mut entry, held);
    ended.put(&mut entry, done);
    journal.commit(entry).await.unwrap();
    close(journal).await;

    let (disk, journal) = open_counted(dir.path());
    let before = disk.reads();
    assert_eq!(journal.task(held).unwrap().as_ref(), Some(&waits.row));
    assert_eq!((journal.unfinished(held), journal.unfinished(done)), (Some(waits.row.clone()), None));
    assert_eq!(disk.reads(), before);
    assert_eq!(journal.task(done).unwrap().as_ref(), Some(&ended.row));
    assert_eq!(disk.reads(), before + 1);

    let cancelled = TaskRow { state: TaskState::Cancelled, finished: Some(hour(1_001)), ..waits.row };
    let mut entry = Entry::new();
    entry.put_task(held, &cancelled);
    journal.commit(entry).await.unwrap();
    assert_eq!((journal.unfinished(held), journal.task(held).unwrap()), (None, Some(cancelled)));
}
