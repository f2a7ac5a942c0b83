//! What is read for callers, and how many of them are served at once.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use rstuf_api::{
    DocumentRef,
    proto::{
        artifacts::v1::{self as artifacts, artifact_service_server::ArtifactService as _},
        tasks::v1::{self as tasks, TaskState, task_service_server::TaskService as _},
    },
};
use rstuf_runtime::Metrics;
use rstuf_store::{Options, Store};
use rstuf_tuf::{Change, RoleName, Sha256, Target, Targets, Unsigned, Version};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use super::{Shared, artifacts::Service as Artifacts, tasks::Service as Tasks};
use crate::{
    Result,
    handles::testing::handles,
    intake::{Intake, IntakeTask, Submission},
    journal::{
        rows::{PublicationRow, RoleRow},
        testing::Disk,
    },
    published::index::Index,
    publisher::{NamedDocument, Publisher},
    start::ceremony::Ceremonies,
    tasks::{Progress, Step},
};

/// One published document, which is read only through a gate.
struct Gated {
    bytes: Bytes,
    gate: Semaphore,
    reads: AtomicUsize,
}

#[async_trait]
impl Publisher for Gated {
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
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.gate.acquire().await.unwrap().forget();
        Ok(references.iter().map(|_| Some(self.bytes.clone())).collect())
    }

    async fn list(&self) -> Result<Vec<String>> {
        unreachable!()
    }

    async fn delete(&self, _: Vec<String>) -> Result<()> {
        unreachable!()
    }
}

async fn shared(dir: &Path, store: Store) -> (Shared, IntakeTask, Arc<Gated>) {
    let targets = [("a".parse().unwrap(), Target::new(1, Sha256([7; 32]).into(), None).unwrap())].into();
    let expires = "2030-01-01T00:00:00Z".parse().unwrap();
    let targets =
        Targets { version: Version::ONE, expires, role: None, targets, delegations: None, unknown: Default::default() };
    let bytes: Bytes = Unsigned::new(&targets).unwrap().seal(Vec::new()).into();
    let row = RoleRow { version: Version::ONE, sha256: Sha256::of(&bytes), length: bytes.len() as u64, expires };
    let publisher = Arc::new(Gated { bytes, gate: Semaphore::new(0), reads: AtomicUsize::new(0) });
    let metrics = Metrics::new("coordinator");
    let handles = handles(store, publisher.clone(), &metrics);
    handles.published.advance(PublicationRow::default(), vec![(RoleName::targets(), row)]);
    let (intake, task) = Intake::load(&handles, &metrics).await.unwrap();
    let ceremonies = Arc::new(Ceremonies::new(handles.clone()));
    (Shared { handles, intake, index: Index::new(dir.to_owned()), ceremonies }, task, publisher)
}

/// Gives everybody a turn who can go on.
async fn turns() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// However many list and look up, eight do at a time; the others wait for their turn, and each is answered.
#[tokio::test]
async fn lists_and_lookups_at_once_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(dir.path().join("state"), "coordinator")).unwrap();
    let (shared, _task, publisher) = shared(dir.path(), store).await;
    let service = Arc::new(Artifacts::new(shared));
    let lookups: Vec<_> = (0..20)
        .map(|_| {
            let service = service.clone();
            let request = artifacts::GetArtifactRequest { path: "a".to_owned() };
            tokio::spawn(async move { service.get_artifact(Request::new(request)).await })
        })
        .collect();
    turns().await;
    assert_eq!(publisher.reads.load(Ordering::Relaxed), 8);
    let list = {
        let service = service.clone();
        tokio::spawn(async move { service.list_artifacts(Request::new(Default::default())).await })
    };
    for answered in 1..=12 {
        publisher.gate.add_permits(1);
        while publisher.reads.load(Ordering::Relaxed) < 8 + answered {
            tokio::task::yield_now().await;
        }
        turns().await;
        assert_eq!(publisher.reads.load(Ordering::Relaxed), 8 + answered);
    }
    assert!(!list.is_finished(), "its turn comes after those that came before it");
    publisher.gate.add_permits(8);
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap().unwrap().into_inner().role_version, 1);
    }
    // It had its turn: the list of this test is never read.
    assert_eq!(list.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

/// Whoever watches a task is told of each step, and nothing is read from the store for that.
#[tokio::test]
async fn watchers_are_told_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = Disk::open(&dir.path().join("state"), "");
    let (shared, task, _) = shared(dir.path(), store).await;
    let (handles, intake) = (shared.handles.clone(), shared.intake.clone());
    let running = tokio::spawn(task.run());
    let change = Change::Remove { path: "a".parse().unwrap() };
    let id = intake.submit(None, Submission::of(&[change], true), false).await.unwrap();
    let service = Tasks::new(shared);
    let before = disk.reads();
    let request = Request::new(tasks::WatchTaskRequest { id: id.to_string() });
    let mut told = service.watch_task(request).await.unwrap().into_inner();
    let mut next = async || told.next().await.unwrap().unwrap().task.unwrap().state();
    assert_eq!(next().await, TaskState::Waiting);
    for step in [Step::Targets, Step::Snapshot, Step::Timestamp, Step::Publish] {
        let progress = Progress { step, roles_done: 0, roles_total: 1, roles_sent: 0 };
        handles.tasks.progress(&[id], progress);
        assert_eq!(next().await, TaskState::Running);
    }
    assert_eq!(disk.reads(), before);
    running.abort();
}
