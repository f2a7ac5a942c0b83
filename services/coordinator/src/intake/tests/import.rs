//! Imports that are streamed in one call: a part becomes durable while the next one comes in.

use super::*;
use crate::journal::testing::Disk;

/// As many changes as make a part.
const PART: usize = 10_000;

/// Whatever was refused of it, an import with a part missing is never acknowledged, and nothing of it stays.
#[tokio::test]
async fn an_import_of_which_a_part_was_refused_is_not_acknowledged() {
    for after in [0, 1, PART] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, store) = Disk::open(&dir.path().join("state"), "");
        let (intake, task, store) = load_over(dir.path(), store, &Metrics::new("coordinator")).await;
        let running = tokio::spawn(task.run());
        let journal = intake.state.journal.clone();
        let mut import = intake.import(None, false).await.unwrap();
        import.add(&EncodedChanges::of(&removals("kept", PART))).await.unwrap();
        while journal.parts().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        disk.set_full_once();
        import.add(&EncodedChanges::of(&removals("refused", PART))).await.unwrap();
        let rest = import.add(&EncodedChanges::of(&removals("rest", after))).await;
        let ended = match rest {
            Ok(()) => import.close().await.map(drop),
            refused => {
                drop(import);
                refused
            }
        };
        assert!(matches!(ended, Err(Error::DiskFull)), "{after}: {ended:?}");
        assert_eq!(intake.take(), queue::Selection::default(), "{after}");
        let emptied = async {
            while !journal.parts().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), emptied).await.expect("parts are left");
        drop((intake, journal));
        running.await.unwrap().unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_part_is_taken_while_the_one_before_becomes_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (intake, task, store) = load(dir.path()).await;
    let running = tokio::spawn(task.run());
    let mut import = intake.import(None, false).await.unwrap();
    let late = "2028-01-01T00:00:00Z".parse().unwrap();
    let (open, _) = intake.state.open.lapsed(late).pop_first().unwrap();
    // Nothing is appended meanwhile.
    let turn = intake.state.open.turn(open).await.expect("it is open");
    let all = removals("a", 2 * PART);
    let [first, second] = [&all[..PART], &all[PART..]].map(EncodedChanges::of);
    assert!(poll!(pin!(import.add(&first))).is_ready(), "the first part waits for its fsync");
    {
        let mut adding = pin!(import.add(&second));
        assert!(poll!(&mut adding).is_pending(), "more than one part is in memory");
        drop(turn);
        adding.await.unwrap();
    }
    let import = import.close().await.unwrap();
    let taken = intake.take().submissions;
    assert_eq!(taken.iter().map(|entry| entry.task).collect::<Vec<_>>(), [import]);
    assert_eq!(changes_of(&intake, &taken[0]), all);
    drop(intake);
    running.await.unwrap().unwrap();
    store.close().await.unwrap();
}
