//! The handle, as a service holds it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rstuf_store::{Batch, Error, INLINE_BYTES_MAX, Options, Result, Row, Sink, Staged, StateStore, Store, Verified};

use crate::support::options;

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
