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

    let (late, waits_too) = Remembered::new(3, TaskKind::Import, 1_000, None, 1, true);
    let mut entry = Entry::new();
    waits_too.put(&mut entry, late);
    journal.commit(entry).await.unwrap();
    let before = disk.reads();
    assert_eq!(journal.task(late).unwrap(), Some(waits_too.row));
    assert_eq!(disk.reads(), before);

    let cancelled = TaskRow { state: TaskState::Cancelled, finished: Some(hour(1_001)), ..waits.row };
    let mut entry = Entry::new();
    entry.put_task(held, &cancelled);
    journal.commit(entry).await.unwrap();
    assert_eq!((journal.unfinished(held), journal.task(held).unwrap()), (None, Some(cancelled)));
}

/// Almost every request id that comes is new: none of the files is read for it, but for one in a hundred.
#[tokio::test]
async fn what_was_never_there_is_not_looked_for_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), LOW).unwrap();
    let known = finish(&journal, 0..200, 1_000).await;
    journal.keep_history(hour(1_030)).await.unwrap();
    // Whoever reads one of them from now on finds nothing.
    for file in sealed(dir.path()) {
        fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap();
    }
    let unreadable = |ids: &mut dyn Iterator<Item = String>| ids.filter(|id| journal.request(id).is_err()).count();
    assert_eq!(unreadable(&mut known.values().map(|task| task.row.request_id.clone())), 200);
    let in_vain = unreadable(&mut (0..1_000).map(|number| format!("new {number}")));
    assert!(in_vain < 60, "{in_vain} of 1,000");
}
