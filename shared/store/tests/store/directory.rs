//! The state directory, as a service finds it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rstuf_store::{Batch, Error, Options, Store};
use tokio::sync::oneshot;

use crate::support::{copy, options};

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
    fs::write(&format, r#"{"format":4,"other":"fields"}"#).unwrap();
    let error = Store::open(options(&dir)).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 4, supported: 3, .. }), "{error}");
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
    assert!(fs::read_to_string(&format).unwrap().contains(r#""format":3"#));
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
