//! What stands in the log, and not in the rows yet.

use std::fs;

use rstuf_store::{Batch, INLINE_BYTES_MAX, Store};

use crate::support::{copy, options, walk};

/// Values that fit the log get a file only if they are still there when it is moved down.
#[tokio::test]
async fn values_that_come_and_go_never_get_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let files = || walk(&dir.path().join("blobs")).len();
    let value = |byte: u8| vec![byte; INLINE_BYTES_MAX * 3];
    let store = Store::open(options(dir.path())).unwrap();
    for byte in 0..10 {
        store.commit(Batch::new().put("kept", value(byte)).put("gone", value(100 + byte))).await.unwrap();
        assert_eq!(store.get("kept").unwrap(), Some(value(byte)));
    }
    store.commit(Batch::new().delete("gone").put("again", value(9))).await.unwrap();
    assert_eq!(files(), 0);
    store.close().await.unwrap();
    assert_eq!(files(), 1);
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.verify().unwrap().rows, 2);
    assert_eq!((store.get("kept").unwrap(), store.get("gone").unwrap()), (Some(value(9)), None));
    store.commit(Batch::new().delete("kept").delete("again")).await.unwrap();
    assert_eq!(files(), 0);
}

/// What was acknowledged stands in the log alone until that is moved down: a process that dies loses nothing of it, nor
/// does one that dies while it moves.
#[tokio::test]
async fn what_stands_in_the_log_alone_survives() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, dead) = (scratch.path().join("state"), scratch.path().join("dead"));
    let store = Store::open(options(&dir)).unwrap();
    store.commit(Batch::new().put("deleted", "1").put("replaced", "1").put("large", vec![1; 20_000])).await.unwrap();
    store.close().await.unwrap();
    let store = Store::open(options(&dir)).unwrap();
    let rows = || fs::read(dir.join("rows-0").join("db")).unwrap();
    let before = rows();
    store.commit(Batch::new().delete("deleted").put("replaced", "2")).await.unwrap();
    store.commit(Batch::new().put("large", vec![2; 20_000]).put("added", "2")).await.unwrap();
    assert_eq!(rows(), before, "nothing is moved yet");
    // Any one page of the log may be damaged, its header too.
    for page in 0..20 {
        let hurt = scratch.path().join(format!("hurt-{page}"));
        copy(&dir, &hurt);
        let mut log = fs::read(hurt.join("log")).unwrap();
        log[page * 4096..(page + 1) * 4096].fill(0);
        fs::write(hurt.join("log"), log).unwrap();
        let store = Store::open(options(&hurt)).unwrap();
        assert_eq!(store.get("added").unwrap(), Some(b"2".to_vec()), "page {page}");
        assert_eq!(store.verify().unwrap().rows, 3, "page {page}");
    }
    copy(&dir, &dead);
    for _ in 0..2 {
        let store = Store::open(options(&dead)).unwrap();
        assert_eq!(store.verify().unwrap().rows, 3);
        assert_eq!(store.get("deleted").unwrap(), None);
        assert_eq!(store.get("replaced").unwrap(), Some(b"2".to_vec()));
        assert_eq!(store.get("large").unwrap(), Some(vec![2; 20_000]));
        assert_eq!(store.get("added").unwrap(), Some(b"2".to_vec()));
        store.close().await.unwrap();
        // As if it had died when the rows were moved, and the head not written yet.
        fs::copy(dir.join("head"), dead.join("head")).unwrap();
    }
}
