//! A repository, and a place for published metadata, for tests.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use rstuf_api::DocumentRef;
use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_tuf::{Envelope, RoleName, Sha256, Target, Targets, Unsigned, Version, ceremony};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::repository::{Repository, reference};
use crate::{
    Result,
    journal::rows::{Lifetimes, RepositoryRow, RoleRow},
    publisher::{NamedDocument, Publisher},
};

/// A repository whose one known key signs nothing but what is signed offline.
pub(crate) fn repository(layout: &str) -> Repository {
    let key = || ceremony::Signers::one(FileKey::generate(&mut SysRng).unwrap().public_key().clone());
    let holder = FileKey::generate(&mut SysRng).unwrap();
    let plan = ceremony::Plan {
        layout: layout.parse().unwrap(),
        holders: ceremony::Signers::one(holder.public_key().clone()),
        targets: key(),
        snapshot: key(),
        timestamp: key(),
    };
    let expires = "2030-01-01T00:00:00Z".parse().unwrap();
    let sealed = |unsigned: Unsigned| unsigned.seal(vec![holder.sign(unsigned.to_sign()).unwrap()]);
    let root = sealed(Unsigned::new(&ceremony::first_root(&plan, expires).unwrap()).unwrap());
    let targets = ceremony::first_targets(&plan, expires).unwrap();
    let targets = targets.map(|targets| sealed(Unsigned::new(&targets).unwrap()));
    let of = |role: RoleName, bytes: &[u8]| reference(&role, &Envelope::parse(bytes).unwrap());
    let root_reference = of(RoleName::root(), &root);
    let seconds = 3_600;
    let row = RepositoryRow {
        id: root_reference.sha256,
        layout: layout.to_owned(),
        lifetimes: Lifetimes {
            bins_seconds: seconds,
            snapshot_seconds: seconds,
            timestamp_seconds: seconds,
            targets_seconds: seconds,
        },
        root: root_reference,
        targets: targets.as_ref().map(|targets| of(RoleName::targets(), targets)),
        task: Uuid::nil(),
    };
    Repository::new(&row, &root, targets.as_deref()).unwrap()
}

/// A place with one document, that of the top-level targets with an artifact at `a`. It counts how often that is read.
pub(crate) struct OneDocument {
    bytes: Bytes,
    row: RoleRow,
    reads: AtomicUsize,
    allowed: Semaphore,
}

impl OneDocument {
    /// Whoever reads is answered.
    pub(crate) fn read_at_will() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }

    /// Whoever reads waits until that is allowed.
    pub(crate) fn read_as_allowed() -> Self {
        Self::new(0)
    }

    fn new(allowed: usize) -> Self {
        let artifact = Target::new(1, Sha256::of(&1_u64.to_be_bytes()).into(), None).unwrap();
        let targets = [("a".parse().unwrap(), artifact)].into();
        let (version, expires) = (Version::ONE, "2030-01-01T00:00:00Z".parse().unwrap());
        let targets = Targets { version, expires, role: None, targets, delegations: None, unknown: Default::default() };
        let bytes: Bytes = Unsigned::new(&targets).unwrap().seal(Vec::new()).into();
        let row = RoleRow { version, sha256: Sha256::of(&bytes), length: bytes.len() as u64, expires };
        Self { bytes, row, reads: AtomicUsize::new(0), allowed: Semaphore::new(allowed) }
    }

    /// What is published.
    pub(crate) fn rows(&self) -> Vec<(RoleName, RoleRow)> {
        vec![(RoleName::targets(), self.row)]
    }

    /// Reads that were begun.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Allows so many calls more to read.
    pub(crate) fn allow(&self, calls: usize) {
        self.allowed.add_permits(calls);
    }
}

#[async_trait]
impl Publisher for OneDocument {
    async fn check_space(&self, _: u64, _: u64) -> Result<()> {
        unreachable!()
    }

    async fn write(&self, _: Vec<NamedDocument>) -> Result<()> {
        unreachable!()
    }

    async fn barrier(&self) -> Result<()> {
        unreachable!()
    }

    async fn replace_timestamp(&self, _: Bytes) -> Result<()> {
        unreachable!()
    }

    async fn read(&self, _: &str) -> Result<Option<Bytes>> {
        unreachable!()
    }

    async fn documents(&self, references: Vec<DocumentRef>) -> Result<Vec<Option<Bytes>>> {
        self.reads.fetch_add(references.len(), Ordering::Relaxed);
        self.allowed.acquire().await.unwrap().forget();
        Ok(references.iter().map(|_| Some(self.bytes.clone())).collect())
    }

    async fn list(&self) -> Result<Vec<String>> {
        unreachable!()
    }

    async fn delete(&self, _: Vec<String>) -> Result<()> {
        unreachable!()
    }
}
