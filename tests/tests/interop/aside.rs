//! What the targets signer refuses for good is set aside: everything else goes on, and somebody retries or drops it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rstuf_api::{
    Reason, Refusal,
    proto::{
        artifacts::v1::{self as proto, Change},
        tasks::v1::{RetryTaskRequest, Task, TaskState},
    },
};
use rstuf_coordinator::effects::{Effect, Moment};
use rstuf_tests::{Builder, Client, TestRepo, client::removal, until};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::Code;

use crate::scene::Scene;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Bytes that the signer allows once the role `full` has more.
const BYTES_MAX: usize = 4_096;

/// A repository of two bins. The signer's limit of documents was lowered below what one of them has: it refuses to sign
/// that again, also for a removal, and can name nobody who would be at fault.
struct Full {
    scene: Scene,
    dir: TempDir,
    /// The paths in the bin that is too large.
    paths: Vec<String>,
}

/// Numbered paths of one of the two bins.
fn paths(name: &str, full: bool) -> impl Iterator<Item = String> {
    let path = move |number| format!("{name}/{number}");
    (0_u32..).map(path).filter(move |path| (Sha256::digest(path)[0] < 128) == full)
}

impl Full {
    async fn new(start: Option<Timestamp>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut scene = Scene::with("succinct:2", builder(&dir, start)).await?;
        let paths: Vec<String> = paths("full", true).take(60).collect();
        let files: Vec<_> = paths.iter().map(|path| (path.as_str(), path.as_bytes())).collect();
        scene.add(&files).await?;
        let mut full = Self { scene, dir, paths };
        full.allow(Some(BYTES_MAX)).await?;
        Ok(full)
    }

    /// Starts it again with another limit.
    async fn allow(&mut self, bytes: Option<usize>) -> anyhow::Result<()> {
        let now = self.scene.repo.clock().now();
        let is_manual = now < "2026-01-01T00:00:00Z".parse()?;
        let builder = builder(&self.dir, is_manual.then_some(now));
        self.scene.repo.stop().await?;
        self.scene.repo = match bytes {
            Some(bytes) => builder.document_bytes_max(bytes),
            None => builder,
        }
        .start()
        .await?;
        Ok(())
    }

    fn client(&self) -> Client {
        self.scene.client()
    }

    /// Submits the removal of one of what is in the role that is too large, and waits until that is set aside.
    async fn refused(&self, at: usize) -> anyhow::Result<String> {
        let id = self.client().submit(vec![removal(&self.paths[at])]).await?;
        set_aside(&self.client(), &id).await?;
        Ok(id)
    }

    fn good(&self, name: &str) -> String {
        paths(name, false).next().unwrap()
    }
}

fn builder(dir: &TempDir, start: Option<Timestamp>) -> Builder {
    let builder = TestRepo::builder().layout("succinct:2").dir(dir.path());
    start.into_iter().fold(builder, Builder::manual_clock)
}

async fn task(client: &Client, id: &str) -> anyhow::Result<Task> {
    let request = rstuf_api::proto::tasks::v1::GetTaskRequest::by_id(id);
    Ok(client.tasks().get_task(request).await?.into_inner().task.unwrap())
}

async fn set_aside(client: &Client, id: &str) -> anyhow::Result<Task> {
    until("it is set aside", async || Ok(task(client, id).await?.state() == TaskState::SetAside)).await?;
    task(client, id).await
}

async fn retry(client: &Client, id: &str) -> Result<Task, tonic::Status> {
    let request = RetryTaskRequest { id: id.to_owned() };
    Ok(client.tasks().retry_task(request).await?.into_inner().task.unwrap())
}

async fn hold(client: &Client, changes: Vec<Change>) -> anyhow::Result<String> {
    let request = proto::SubmitArtifactsRequest { changes, hold: true, ..Default::default() };
    Ok(client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap().id)
}

fn refusal(status: &tonic::Status) -> (Code, Option<Refusal>) {
    (status.code(), Reason::of(status).map(|reason| reason.name))
}

/// What is refused as another was before is not asked for as often, so that many such hold nobody up for long.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_as_another_was_is_set_aside_at_once() -> anyhow::Result<()> {
    let mut full = Full::new(None).await?;
    full.scene.repo.stop().await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let counted = builder(&full.dir, None).document_bytes_max(BYTES_MAX).stop_at(Arc::new(move |effect, moment| {
        count.fetch_add((effect == Effect::SignTargets && moment == Moment::Before).into(), Ordering::Relaxed);
        None
    }));
    full.scene.repo = counted.start().await?;
    full.refused(0).await?;
    let first = asked.swap(0, Ordering::Relaxed);
    for at in 1..=5 {
        full.refused(at).await?;
    }
    let others = asked.load(Ordering::Relaxed);
    anyhow::ensure!(first > 8 && others == 2 * 5, "asked {first} times for the first, {others} for five others");
    full.scene.repo.stop().await?;
    Ok(())
}

/// Five in one batch, one of which is refused: the others are published, whoever comes later is, and the one waits
/// through a start until the limit is raised.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_blocks_nobody_and_is_retried() -> anyhow::Result<()> {
    let mut full = Full::new(None).await?;
    let client = full.client();
    let good: Vec<String> = paths("good", false).take(4).collect();
    let mut held = Vec::new();
    for path in &good[..2] {
        held.push(hold(&client, vec![client.file(path, path.as_bytes())?]).await?);
    }
    // What it adds elsewhere is not taken either.
    let mixed = vec![removal(&full.paths[0]), client.file("never", b"seen")?];
    let refused = hold(&client, mixed).await?;
    for path in &good[2..] {
        held.push(hold(&client, vec![client.file(path, path.as_bytes())?]).await?);
    }
    let publish = client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
    let publish = publish.into_inner().task.unwrap().id;
    for id in held.iter().chain([&publish]) {
        client.done(id).await?;
    }
    full.scene.expected.extend(good.iter().map(|path| (path.clone(), Some(path.clone().into_bytes()))));
    full.scene.expected.insert("never".to_owned(), None);
    let aside = set_aside(&client, &refused).await?;
    let error = aside.error.clone().unwrap();
    assert_eq!((error.reason.as_str(), aside.finished_at), ("DOCUMENT_TOO_LARGE", None));
    let later = full.good("later");
    full.scene.add(&[(&later, b"later")]).await?;
    full.scene.judge().await?;

    let status = client.status().await?;
    assert_eq!((status.submissions_set_aside, status.submissions_waiting, status.submissions_held), (1, 0, 0));
    let named = &status.warnings[0];
    for part in [&refused, "DOCUMENT_TOO_LARGE", "rstuf task retry", "rstuf task cancel"] {
        assert!(named.contains(part), "{part} in {named}");
    }
    let admin = full.scene.repo.admin_url("coordinator").to_owned();
    let metrics = reqwest::get(format!("{admin}/metrics")).await?.text().await?;
    let gauge = metrics.lines().find(|line| line.starts_with("rstuf_submissions_set_aside{")).unwrap();
    assert!(gauge.ends_with(" 1"), "{gauge}");
    assert_eq!(reqwest::get(format!("{admin}/readyz")).await?.text().await?, "ok\n");
    assert_eq!(client.list("full/").await?.len(), full.paths.len());

    // The limit was not raised: it comes back, and nobody waits for it.
    full.allow(Some(BYTES_MAX)).await?;
    let client = full.client();
    assert_eq!(task(&client, &refused).await?.state(), TaskState::SetAside);
    assert_eq!(retry(&client, &refused).await?.error, None);
    full.scene.add(&[(&later, b"replaced")]).await?;
    assert_eq!(set_aside(&client, &refused).await?.error, Some(error));

    full.allow(None).await?;
    let client = full.client();
    retry(&client, &refused).await?;
    let done = client.done(&refused).await?;
    assert_eq!((done.error, done.counts.unwrap().removed), (None, 1));
    assert_eq!(
        refusal(&retry(&client, &refused).await.unwrap_err()),
        (Code::FailedPrecondition, Some(Refusal::TaskNotSetAside))
    );
    full.scene.expect(&[("never", b"seen")]);
    full.scene.expected.insert(full.paths[0].clone(), None);
    full.scene.judge().await?;
    assert_eq!(client.status().await?.submissions_set_aside, 0);
    full.scene.repo.stop().await
}

/// What is dropped fails, with the reason, and never takes effect; what is retried takes effect after what was
/// acknowledged before, on the same path too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_is_dropped_or_takes_effect_last() -> anyhow::Result<()> {
    let mut full = Full::new(None).await?;
    let client = full.client();
    let (dropped, retried) = (full.refused(1).await?, full.refused(2).await?);
    let error = task(&client, &dropped).await?.error;
    let failed = client.cancel(&dropped).await?;
    assert_eq!((failed.state(), failed.error.is_some()), (TaskState::Failed, true));
    assert_eq!(failed.error, error);
    assert_eq!(
        refusal(&client.cancel(&dropped).await.unwrap_err()),
        (Code::FailedPrecondition, Some(Refusal::TaskFinished))
    );
    assert_eq!(client.wait(&dropped).await?, failed);
    let unknown = "01890000-0000-7000-8000-000000000000";
    assert_eq!(refusal(&retry(&client, unknown).await.unwrap_err()), (Code::NotFound, Some(Refusal::NotFound)));
    assert_eq!(client.status().await?.submissions_set_aside, 1);

    full.allow(None).await?;
    let client = full.client();
    // Held before the retry, with the same path: taken along, and first.
    let path = full.paths[2].clone();
    full.scene.add(&[(&path, b"added meanwhile")]).await?;
    let held = hold(&client, vec![client.file(&path, b"held before")?]).await?;
    retry(&client, &retried).await?;
    client.done(&retried).await?;
    client.done(&held).await?;
    full.scene.expected.insert(path, None);
    full.scene.judge().await?;
    full.scene.repo.stop().await
}

/// A role that can't be renewed keeps nobody else's from that, nor what is submitted, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_is_refused_for_good_blocks_nobody() -> anyhow::Result<()> {
    let start: Timestamp = "2025-02-27T12:34:56Z".parse()?;
    let mut full = Full::new(Some(start)).await?;
    let other = full.good("other");
    full.scene.add(&[(&other, b"other")]).await?;
    let expected = full.scene.expected.clone();
    for _ in 0..8 {
        full.scene.repo.manual().advance(5 * DAY);
        let now = full.scene.now();
        let client = full.client();
        until("the timestamp is renewed", async || {
            let roles = client.status().await?.roles;
            Ok(roles.iter().all(|role| role.role != "timestamp" || role.expires_at.unwrap().seconds > now.as_second()))
        })
        .await?;
        full.scene.expected.retain(|path, _| *path == other);
        until("others are renewed", async || Ok(full.scene.judge().await.is_ok())).await?;
    }
    // What is submitted goes on as well.
    let path = full.good("submitted");
    full.scene.add(&[(&path, b"new")]).await?;
    let client = full.client();
    until("it is named", async || {
        let warnings = client.status().await?.warnings;
        Ok(warnings.iter().any(|warning| warning.contains("the renewal of some roles waits for an operator")))
    })
    .await?;
    full.scene.expected = expected.into_iter().chain(full.scene.expected.clone()).collect();
    assert!(full.scene.judge().await.is_err(), "what can't be renewed has expired");
    full.allow(None).await?;
    until("it is renewed", async || Ok(full.scene.judge().await.is_ok())).await?;
    assert!(full.client().status().await?.warnings.is_empty());
    full.scene.repo.stop().await
}
