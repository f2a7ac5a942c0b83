//! A disk for tests.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rstuf_store::{Batch, Error, Options, Result, Row, Sink, SledStore, Staged, StateStore, Store, Verified};

/// A store on which no entry fits while it is said to be full, and which counts how often some rows are read by key.
pub(crate) struct Disk {
    store: SledStore,
    full: AtomicBool,
    full_once: AtomicBool,
    counted: &'static str,
    reads: AtomicUsize,
}

impl Disk {
    /// In `dir`; counts reads of rows whose keys begin so.
    pub(crate) fn open(dir: &Path, counted: &'static str) -> (Arc<Self>, Store) {
        let store = SledStore::open(Options::new(dir, "coordinator")).unwrap();
        let disk = Arc::new(Self {
            store,
            full: AtomicBool::default(),
            full_once: AtomicBool::default(),
            counted,
            reads: AtomicUsize::default(),
        });
        (disk.clone(), Store::with_backend(dir, disk).unwrap())
    }

    /// From now on.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// For the next entry only.
    pub(crate) fn set_full_once(&self) {
        self.full_once.store(true, Ordering::Relaxed);
    }

    /// So far.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl StateStore for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.reads.fetch_add(usize::from(key.starts_with(self.counted.as_bytes())), Ordering::Relaxed);
        self.store.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        self.store.scan(prefix, after, limit)
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.store.keys(prefix, after, limit)
    }

    fn stage(&self, value: &[u8]) -> Result<Staged> {
        self.store.stage(value)
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        if self.full.load(Ordering::Relaxed) || self.full_once.swap(false, Ordering::Relaxed) {
            let (free_bytes, wanted_bytes, floor_bytes) = (0, 1, 0);
            return Err(Error::NoSpace { dir: PathBuf::new(), free_bytes, wanted_bytes, floor_bytes });
        }
        self.store.commit(batch)
    }

    fn repository(&self) -> Result<Option<[u8; 32]>> {
        self.store.repository()
    }

    fn bind_repository(&self, id: [u8; 32]) -> Result<()> {
        self.store.bind_repository(id)
    }

    fn verify(&self) -> Result<Verified> {
        self.store.verify()
    }

    fn export(&self, sink: &mut Sink<'_>) -> Result<()> {
        self.store.export(sink)
    }

    fn close(&self) -> Result<()> {
        self.store.close()
    }
}
