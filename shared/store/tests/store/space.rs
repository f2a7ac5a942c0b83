//! What is written, and what becomes of it: large batches, large values, and the floor of free space.

use std::{fs, path::Path};

use rstuf_store::{Batch, Error, INLINE_BYTES_MAX, Store};

use crate::support::{options, walk};

/// What a batch of many rows costs is its own size, however many rows stand beside it: also with the rows of all roles
/// that a repository can have.
#[tokio::test]
async fn a_large_batch_rewrites_nothing_but_its_own_rows() {
    const ROLES: u32 = 16_384;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let rows = |from: u32, count: u32, byte: u8| {
        let mut batch = Batch::new();
        for n in from..from + count {
            batch.put(format!("row/{n:06}"), vec![byte; 200]);
        }
        batch
    };
    store.commit(rows(0, 100_000, 1)).await.unwrap();
    let db = dir.path().join("rows-0").join("db");
    let length = || fs::metadata(&db).unwrap().len();
    for (count, deleted, bytes_max) in [(5_000, 2_000, 8 << 20), (ROLES, 0, 16 << 20)] {
        let before = length();
        let mut batch = rows(10_000, count, 2);
        for n in 30_000..30_000 + deleted {
            batch.delete(format!("row/{n:06}"));
        }
        store.commit(batch).await.unwrap();
        let written = length() - before;
        assert!(written < bytes_max, "{written} bytes written for {count} rows of 200 bytes");
        assert!(!dir.path().join("pending").exists());
    }
    store.close().await.unwrap();

    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.verify().unwrap().rows, 98_000);
    assert_eq!(store.get(format!("row/{:06}", 10_000 + ROLES - 1)).unwrap(), Some(vec![2; 200]));
    assert_eq!(store.get(format!("row/{:06}", 10_000 + ROLES)).unwrap(), Some(vec![1; 200]));
    assert_eq!(store.get("row/030000").unwrap(), None);
}

/// One batch of 16,384 rows, as when that many roles are signed at once.
#[tokio::test]
async fn large_batches_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let batch = |version: u8| {
        let mut batch = Batch::new();
        for row in 0..16_384_u32 {
            batch.put(format!("role/{row:05}"), vec![version; 600]);
        }
        batch
    };
    store.commit(batch(1).put("kept", "before")).await.unwrap();
    store.commit(Batch::new().delete("role/00007")).await.unwrap();
    store.commit(batch(2).delete("role/00009").put("added", "after")).await.unwrap();
    let last = store.keys("role/", Some(b"role/16381"), 10).unwrap();
    assert_eq!(last, [b"role/16382", b"role/16383"]);
    store.close().await.unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let rows = store.scan("role/", None, 20_000).unwrap();
    assert_eq!(rows.len(), 16_383);
    assert!(rows.iter().all(|(_, value)| value == &[2; 600]));
    assert_eq!(store.get("role/00009").unwrap(), None);
    assert_eq!(store.get("kept").unwrap(), Some(b"before".to_vec()));
    assert_eq!(store.get("added").unwrap(), Some(b"after".to_vec()));
}

#[tokio::test]
async fn unused_large_values_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let files = || walk(&dir.path().join("blobs")).len();
    // Too large for the log, so that each has its file at once.
    let large = |byte: u8| vec![byte; 3 << 20];
    let store = Store::open(options(dir.path())).unwrap();
    store.commit(Batch::new().put("a", large(1)).put("b", large(1)).put("c", large(2))).await.unwrap();
    assert_eq!(files(), 2, "one content, one file");
    store.commit(Batch::new().delete("a").put("c", "small")).await.unwrap();
    assert_eq!(files(), 1);
    assert_eq!(store.get("b").unwrap(), Some(large(1)));
    store.commit(Batch::new().put("b", large(3))).await.unwrap();
    assert_eq!(files(), 1);
    // What a crash leaves behind goes at the next start.
    let left = dir.path().join("blobs").join("ab");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("ab".repeat(32)), "left by a crash").unwrap();
    fs::write(dir.path().join("blobs").join("cd.new"), "half a file").unwrap();
    store.close().await.unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(files(), 1);
    assert_eq!(store.get("b").unwrap(), Some(large(3)));

    // A damaged file is noticed by its reader, and ends the process.
    let file = walk(&dir.path().join("blobs")).remove(0);
    fs::write(&file, "other bytes").unwrap();
    let failed = store.failed();
    assert!(matches!(store.get("b"), Err(Error::Corrupt { .. })));
    assert!(matches!(failed.await, Error::Corrupt { .. }));
    assert!(matches!(store.commit(Batch::new().put("x", "y")).await, Err(Error::Failed { .. })));
    fs::remove_file(&file).unwrap();
    store.close().await.unwrap();
    let error = Store::open(options(dir.path())).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

/// Files below a directory.
fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn what_is_written_ahead_goes_with_its_batch_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (store, blobs) = (Store::open(options(dir.path())).unwrap(), dir.path().join("blobs"));
    let value = vec![7; 3 * INLINE_BYTES_MAX];
    let staged = store.stage(&value).unwrap();
    assert_eq!((staged.bytes(), store.keys("", None, 9).unwrap().len()), (value.len() as u64, 0));
    drop(staged);
    assert_eq!(files(&blobs), 0);

    let (small, same) = (store.stage(b"small").unwrap(), store.stage(&value).unwrap());
    let mut refused = Batch::new();
    refused.put_staged("small", small.clone()).put_staged("large", same.clone()).put(vec![b'k'; 300], "too long a key");
    assert!(matches!(store.commit(refused).await, Err(Error::Limit { .. })));
    store.commit(Batch::new().put_staged("small", small).put_staged("large", same)).await.unwrap();
    store.commit(Batch::new().put_staged("again", store.stage(&value).unwrap()).delete("large")).await.unwrap();
    assert_eq!(files(&blobs), 2, "one value is one file");
    // As if the process died.
    std::mem::forget(store.stage(b"given up").unwrap());
    store.close().await.unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(files(&blobs), 2);
    let read = ["small", "large", "again"].map(|key| store.get(key).unwrap());
    assert_eq!(read, [Some(b"small".to_vec()), None, Some(value)]);
    store.verify().unwrap();
}

#[tokio::test]
async fn the_floor_of_free_space_holds() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    let stat = rustix::fs::statvfs(dir.path()).unwrap();
    let free_bytes = stat.f_bavail * stat.f_frsize;
    let error = Store::open(options(dir.path()).free_bytes_min(u64::MAX)).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    // Room for small batches, but not for one of half a gigabyte.
    let store = Store::open(options(dir.path()).free_bytes_min(free_bytes.saturating_sub(256 << 20))).unwrap();
    let error = store.commit(Batch::new().put("large", vec![0; 256 << 20]).put("a", "2")).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    store.commit(Batch::new().put("b", "3")).await.unwrap();
    assert_eq!(store.get("a").unwrap(), Some(b"1".to_vec()));
    assert_eq!(store.get("large").unwrap(), None);
    // What leaves more is refused first, and takes nothing along that waits beside it.
    let all = free_bytes;
    let (refused, done) = tokio::join!(async { store.commit(Batch::new().put("c", "4").leave(all)).await }, async {
        store.commit(Batch::new().put("d", "5").leave(all / 2)).await
    },);
    assert!(matches!(refused, Err(Error::NoSpace { floor_bytes, .. }) if floor_bytes == all), "{refused:?}");
    done.unwrap();
    // Whoever only wants to know asks with what changes nothing: it needs as much as the smallest does.
    let nothing = store.commit(Batch::new().leave(all)).await;
    assert!(matches!(nothing, Err(Error::NoSpace { wanted_bytes: 1.., .. })), "{nothing:?}");
    store.commit(Batch::new().leave(all / 2)).await.unwrap();
    assert_eq!((store.get("c").unwrap(), store.get("d").unwrap()), (None, Some(b"5".to_vec())));
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Rewriting moves the rows to fresh generations, so neither disk nor memory grow.
#[tokio::test]
async fn rewriting_costs_no_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let mut resident_kib = Vec::new();
    for round in 0..60_u8 {
        let mut batch = Batch::new();
        for row in 0..2000_u32 {
            batch.put(format!("row/{row:04}"), vec![round; 1000]);
        }
        store.commit(batch).await.unwrap();
        resident_kib.push(resident());
    }
    let disk_bytes: u64 = walk(dir.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(disk_bytes < 100 << 20, "{disk_bytes} bytes for 2 MB of rows");
    let (early, late) = (resident_kib[29], resident_kib[59]);
    assert!(late < early + 40 * 1024, "memory went from {early} to {late} KiB");
    assert_eq!(store.verify().unwrap().rows, 2000);
    let sleds_own_files = walk(dir.path()).into_iter().filter(|file| file.to_string_lossy().contains("/rows-"));
    let unsynced: Vec<_> = sleds_own_files.filter(|file| file.to_string_lossy().contains("/blobs/")).collect();
    assert!(unsynced.is_empty(), "sled wrote files that it never syncs: {unsynced:?}");
}
