//! What is read for callers, and how many of them are served at once.
#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc};

use rstuf_api::proto::{
    artifacts::v1::{self as artifacts, artifact_service_server::ArtifactService as _},
    tasks::v1::{self as tasks, TaskState, task_service_server::TaskService as _},
};
use rstuf_runtime::Metrics;
use rstuf_store::{Options, Store};
use rstuf_tuf::Change;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use super::{Shared, artifacts::Service as Artifacts, tasks::Service as Tasks};
use crate::{
    handles::testing::handles,
    intake::{Intake, IntakeTask, Submission},
    journal::{rows::PublicationRow, testing::Disk},
    published::{index::Index, testing::OneDocument},
    start::ceremony::Ceremonies,
    tasks::{Progress, Step},
};

async fn shared(dir: &Path, store: Store) -> (Shared, IntakeTask, Arc<OneDocument>) {
    let publisher = Arc::new(OneDocument::read_as_allowed());
    let metrics = Metrics::new("coordinator");
    let handles = handles(store, publisher.clone(), &metrics);
    handles.published.advance(PublicationRow::default(), publisher.rows());
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
    assert_eq!(publisher.reads(), 8);
    let list = {
        let service = service.clone();
        tokio::spawn(async move { service.list_artifacts(Request::new(Default::default())).await })
    };
    for answered in 1..=12 {
        publisher.allow(1);
        while publisher.reads() < 8 + answered {
            tokio::task::yield_now().await;
        }
        turns().await;
        assert_eq!(publisher.reads(), 8 + answered);
    }
    assert!(!list.is_finished(), "its turn comes after those that came before it");
    publisher.allow(8);
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
