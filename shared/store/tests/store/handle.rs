//! The handle and the state directory, as a service sees them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rstuf_store::{Batch, Error, INLINE_BYTES_MAX, Options, Result, Row, Sink, Staged, StateStore, Store, Verified};
use tokio::sync::oneshot;

fn options(dir: &Path) -> Options {
    Options::new(dir, "coordinator").free_bytes_min(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_are_grouped_and_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let commits = (0..400_u32).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let value = vec![n as u8; if n % 50 == 0 { INLINE_BYTES_MAX + 1 } else { 100 }];
            store.commit(Batch::new().put(format!("row/{n:04}"), value)).await.unwrap();
            assert!(store.get(format!("row/{n:04}")).unwrap().is_some(), "acknowledged, so it can be read");
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap();
    }
    // Commits of one task take effect in their order.
    for n in 0..20_u32 {
        store.commit(Batch::new().put("last", n.to_string())).await.unwrap();
    }
    store.bind_repository([1; 32]).unwrap();
    let other_handle = store.clone();
    store.close().await.unwrap();
    assert!(matches!(other_handle.commit(Batch::new().delete("last")).await, Err(Error::Closed { .. })));
    assert!(matches!(other_handle.get("last"), Err(Error::Closed { .. })));

    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.keys("row/", None, 1000).unwrap().len(), 400);
    assert_eq!(store.get("last").unwrap(), Some(b"19".to_vec()));
    assert_eq!(store.repository().unwrap(), Some([1; 32]));
    assert!(matches!(store.bind_repository([2; 32]), Err(Error::OtherRepository { .. })));
    assert_eq!(store.verify().unwrap().rows, 401);
}

/// What a batch of many rows costs is its own size, however many rows stand beside it.
#[tokio::test]
async fn a_large_batch_rewrites_nothing_but_its_own_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    let rows = |from: u32, count: u32, byte: u8| {
        let mut batch = Batch::new();
        for n in from..from + count {
            batch.put(format!("row/{n:06}"), vec![byte; 200]);
        }
        batch
    };
    store.commit(rows(0, 60_000, 1)).await.unwrap();
    let db = dir.path().join("rows-0").join("db");
    let before = fs::metadata(&db).unwrap().len();
    let mut batch = rows(10_000, 5_000, 2);
    for n in 20_000..22_000 {
        batch.delete(format!("row/{n:06}"));
    }
    store.commit(batch).await.unwrap();
    let written = fs::metadata(&db).unwrap().len() - before;
    assert!(written < 8 << 20, "{written} bytes written for 7,000 rows of 200 bytes");
    assert!(!dir.path().join("pending").exists());
    store.close().await.unwrap();

    let store = Store::open(options(dir.path())).unwrap();
    assert_eq!(store.verify().unwrap().rows, 58_000);
    assert_eq!(store.get("row/014999").unwrap(), Some(vec![2; 200]));
    assert_eq!(store.get("row/015000").unwrap(), Some(vec![1; 200]));
    assert_eq!(store.get("row/020000").unwrap(), None);
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

#[tokio::test]
async fn a_directory_that_is_not_ours_is_refused_unchanged() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("state");
    let store = Store::open(options(&dir)).unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    let error = Store::open(options(&dir)).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    store.close().await.unwrap();

    let error = Store::open(Options::new(&dir, "snapshot").free_bytes_min(0)).unwrap_err();
    assert!(matches!(&error, Error::OtherKind { found, wanted, .. } if found == "coordinator" && wanted == "snapshot"));

    let format = dir.join("format.json");
    let good = fs::read(&format).unwrap();
    fs::write(&format, r#"{"format":3,"other":"fields"}"#).unwrap();
    let error = Store::open(options(&dir)).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 3, supported: 2, .. }), "{error}");
    for damage in ["", "{}", r#"{"format":0,"kind":"coordinator"}"#, "not json"] {
        fs::write(&format, damage).unwrap();
        assert!(matches!(Store::open(options(&dir)), Err(Error::Corrupt { .. })), "{damage}");
    }
    fs::remove_file(&format).unwrap();
    assert!(matches!(Store::open(options(&dir)), Err(Error::Corrupt { .. })));
    fs::write(&format, good).unwrap();

    // Rows that were there once are missed, whatever is left.
    for name in ["head", "rows-0", "log"] {
        let (path, aside) = (dir.join(name), scratch.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        assert!(matches!(Store::open(options(&dir)), Err(Error::Corrupt { .. })), "{name}");
        fs::rename(&aside, &path).unwrap();
    }
    let store = Store::open(options(&dir)).unwrap();
    assert_eq!(store.get("a").unwrap(), Some(b"1".to_vec()));
}

/// A directory, or a pipe, in the place of a file is told at once: nobody waits for the pipe's other end.
#[tokio::test]
async fn what_is_no_file_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("state");
    let store = Store::open(options(&dir)).unwrap();
    let mut file = store.new_file("sealed").unwrap();
    file.append(b"sealed").unwrap();
    file.seal().unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    let open = |dir: &Path| Store::open(options(dir)).and_then(|store| store.open_file("sealed").map(drop));
    for name in ["format.json", "lock", "head", "log", "pending", "sealed/sealed"] {
        let (path, aside) = (dir.join(name), scratch.path().join("aside"));
        let was_there = fs::rename(&path, &aside).is_ok();
        let make: [fn(&Path); 2] = [
            |path| fs::create_dir(path).unwrap(),
            |path| {
                rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap()
            },
        ];
        for make in make {
            make(&path);
            let at = dir.clone();
            let (answer, opened) = oneshot::channel();
            std::thread::spawn(move || answer.send(open(&at)));
            let refused = tokio::time::timeout(Duration::from_secs(60), opened).await.expect(name).unwrap();
            let error = refused.expect_err(name).to_string();
            assert!(error.contains("no file: move it away"), "{name}: {error}");
            assert_eq!(error.matches(&path.display().to_string()).count(), 1, "{error}");
            if path.is_dir() { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        if was_there {
            fs::rename(&aside, &path).unwrap();
        }
    }
    open(&dir).unwrap();
}

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

/// The head stands there twice whenever the log was begun anew: either may be damaged.
#[tokio::test]
async fn either_half_of_the_head_may_be_damaged() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("state");
    let store = Store::open(options(&dir)).unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    let store = Store::open(options(&dir)).unwrap();
    store.commit(Batch::new().put("a", "2")).await.unwrap();
    for slot in 0..2 {
        let hurt = scratch.path().join(format!("hurt-{slot}"));
        copy(&dir, &hurt);
        let mut head = fs::read(hurt.join("head")).unwrap();
        head[slot * 4096..slot * 4096 + 64].fill(0);
        fs::write(hurt.join("head"), head).unwrap();
        let store = Store::open(options(&hurt)).unwrap();
        assert_eq!(store.get("a").unwrap(), Some(b"2".to_vec()), "slot {slot}");
    }
}

/// A directory of the release before, which had no log, is given one, and older releases refuse it from then on.
#[tokio::test]
async fn a_directory_without_a_log_is_given_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    let (log, format) = (dir.path().join("log"), dir.path().join("format.json"));
    fs::remove_file(&log).unwrap();
    fs::write(&format, r#"{"format":1,"kind":"coordinator"}"#).unwrap();
    let store = Store::open(options(dir.path())).unwrap();
    assert!(log.exists());
    assert!(fs::read_to_string(&format).unwrap().contains(r#""format":2"#));
    assert_eq!(store.get("a").unwrap(), Some(b"1".to_vec()));
}

/// Older rows under a newer head: a part of a backup, or a log cut short.
#[tokio::test]
async fn rows_older_than_the_head_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, old) = (scratch.path().join("state"), scratch.path().join("old"));
    let store = Store::open(options(&dir)).unwrap();
    store.commit(Batch::new().put("a", "1")).await.unwrap();
    store.close().await.unwrap();
    copy(&dir.join("rows-0"), &old);
    let store = Store::open(options(&dir)).unwrap();
    store.commit(Batch::new().put("a", "2")).await.unwrap();
    store.close().await.unwrap();
    fs::remove_dir_all(dir.join("rows-0")).unwrap();
    copy(&old, &dir.join("rows-0"));
    let error = Store::open(options(&dir)).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains("acknowledged"), "{error}");
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

/// A backend that panics or fails at its second commit.
struct Broken {
    commits: AtomicUsize,
    panics: bool,
}

impl StateStore for Broken {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    fn scan(&self, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Row>> {
        Ok(Vec::new())
    }
    fn keys(&self, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn stage(&self, _: &[u8]) -> Result<Staged> {
        Err(Error::Closed { dir: "state".into() })
    }
    fn commit(&self, _: &Batch) -> Result<()> {
        match (self.commits.fetch_add(1, Ordering::Relaxed), self.panics) {
            (0, _) => Ok(()),
            (_, true) => panic!("broken inside"),
            (_, false) => Err(Error::Failed { dir: "state".into(), reason: "disk gone".to_owned() }),
        }
    }
    fn repository(&self) -> Result<Option<[u8; 32]>> {
        Ok(None)
    }
    fn bind_repository(&self, _: [u8; 32]) -> Result<()> {
        Ok(())
    }
    fn verify(&self) -> Result<Verified> {
        Ok(Verified::default())
    }
    fn export(&self, _: &mut Sink<'_>) -> Result<()> {
        Ok(())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn after_a_failed_commit_nothing_is_accepted() {
    for (panics, told) in [(true, "broken inside"), (false, "disk gone")] {
        let backend = Arc::new(Broken { commits: AtomicUsize::new(0), panics });
        let store = Store::with_backend("state", Arc::clone(&backend) as Arc<dyn StateStore>).unwrap();
        let failed = store.failed();
        store.commit(Batch::new().put("a", "1")).await.unwrap();
        for _ in 0..3 {
            let error = store.commit(Batch::new().put("a", "2")).await.unwrap_err();
            assert!(matches!(error, Error::Failed { .. }) && error.to_string().contains(told), "{error}");
        }
        assert!(failed.await.to_string().contains(told));
        assert_eq!(backend.commits.load(Ordering::Relaxed), 2, "the backend is not called again");
        store.close().await.unwrap();
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in walk(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    fs::create_dir_all(to.join("blobs")).unwrap();
}

/// Whether it is made here or was there, open to others.
#[tokio::test]
async fn a_state_directory_is_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    for (name, before) in [("made", None), ("open", Some(0o755)), ("shared", Some(0o770)), ("closed", Some(0o700))] {
        let dir = parent.path().join(name);
        if let Some(mode) = before {
            fs::create_dir(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        }
        let store = Store::open(Options::new(&dir, "test")).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700, "{name}");
        store.close().await.unwrap();
    }
}

/// Whoever drives a runtime must not wait for the disk; threads that may block are told apart from those.
#[tokio::test]
async fn workers_are_refused_where_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path(), "test")).unwrap();
    store.commit(Batch::new().put("key", "value")).await.unwrap();
    assert_eq!(store.get("key").unwrap().as_deref(), Some(&b"value"[..]));
    store.refuse_workers();
    let here = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.get("key")));
    assert!(here.is_err(), "on a worker");
    let apart = store.clone();
    let there = tokio::task::spawn_blocking(move || apart.get("key")).await.unwrap();
    assert_eq!(there.unwrap().as_deref(), Some(&b"value"[..]));
    store.commit(Batch::new().delete("key")).await.unwrap();
}
