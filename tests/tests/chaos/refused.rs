//! Batches that are signed and that the snapshot signer refuses for good: nothing else waits for them, nobody ever sees
//! what is set aside of them, and an operator drops or retries it.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rstuf_api::{
    Refusal,
    proto::{
        artifacts::v1::Change,
        metadata::v1::Document,
        tasks::v1::{GetTaskRequest, RetryTaskRequest, Task, TaskState},
    },
};
use rstuf_tests::{Client, client::removal, until};

use crate::{
    gate::{Fate, lists},
    stuck::{Scene, never},
    support::Request,
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// What lists this is refused.
pub(crate) const BAD: &str = "bad/";
/// Waiting will not mend that.
const FOR_GOOD: Fate = Fate::Refused(Refusal::EvidenceInvalid);

pub(crate) async fn task(client: &Client, id: &str) -> anyhow::Result<Task> {
    Ok(client.tasks().get_task(GetTaskRequest::by_id(id)).await?.into_inner().task.unwrap_or_default())
}

pub(crate) async fn set_aside(client: &Client, id: &str) -> anyhow::Result<Task> {
    until("it is set aside", async || Ok(task(client, id).await?.state() == TaskState::SetAside)).await?;
    task(client, id).await
}

pub(crate) async fn retry(client: &Client, id: &str) -> anyhow::Result<()> {
    client.tasks().retry_task(RetryTaskRequest { id: id.to_owned() }).await?;
    Ok(())
}

impl Scene {
    /// Held, so that all are published with one batch.
    async fn together(&self, name: &str, submissions: Vec<Vec<Change>>) -> anyhow::Result<Vec<String>> {
        let mut tasks = Vec::new();
        for (changes, number) in submissions.into_iter().zip(0..) {
            tasks.push(Request::hold(format!("{name}-{number}"), changes).acknowledged(self.client()).await?);
        }
        tasks.push(Request::publish(format!("{name}-publish")).acknowledged(self.client()).await?);
        Ok(tasks)
    }

    /// The change that adds a file whose content is its path.
    pub(crate) fn file(&self, path: &str) -> anyhow::Result<Change> {
        self.client().file(path, path.as_bytes())
    }

    /// Adds one file to each of the bins, whatever else these wait for.
    pub(crate) async fn fill(&mut self, name: &str) -> anyhow::Result<()> {
        for number in 0..12 {
            let path = format!("{name}/{number}");
            let id = self.submit(&path).await?;
            self.client().done(&id).await.context(path.clone())?;
            self.expect(&path);
        }
        self.sees().await
    }
}

pub(crate) fn refuse_bad(scene: &Scene) {
    scene.gate.set(|documents| if lists(documents, BAD) { FOR_GOOD } else { Fate::Asked });
}

/// One of five in a batch is refused: the others are published, whoever comes later is, also in the same roles, and the
/// one waits through starts until the signer takes it.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_snapshot_signer_refuses_blocks_nobody_and_is_retried() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    scene.fill("before").await?;
    refuse_bad(&scene);
    // What it changes elsewhere is not seen either.
    let bad = vec![
        scene.file("bad/1")?,
        scene.client().file("before/1", b"replaced")?,
        removal("before/2"),
        scene.file("elsewhere")?,
    ];
    let mut submissions = vec![bad];
    for path in ["good/1", "good/2", "good/3", "good/4"] {
        submissions.push(vec![scene.file(path)?]);
        scene.expect(path);
    }
    let tasks = scene.together("first", submissions).await?;
    for id in &tasks[1..] {
        scene.client().done(id).await?;
    }
    scene.expected.extend(["bad/1", "elsewhere"].map(|path| (path.to_owned(), None)));
    scene.sees().await?;
    let error = set_aside(scene.client(), &tasks[0]).await?.error.context("no reason")?;
    ensure!(error.reason == "EVIDENCE_INVALID" && error.message.contains("snapshot"), "{error:?}");
    scene.fill("later").await?;
    let listed = scene.client().list("").await?;
    let listed: BTreeSet<_> = listed.iter().map(|artifact| artifact.path.as_str()).collect();
    let seen = scene.expected.iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path.as_str());
    ensure!(listed == seen.collect(), "{listed:?}");
    let status = scene.client().status().await?;
    ensure!((status.submissions_set_aside, status.submissions_waiting) == (1, 0), "{status:?}");
    for part in [&tasks[0], "EVIDENCE_INVALID", "rstuf task retry", "rstuf task cancel"] {
        ensure!(status.warnings.iter().any(|warning| warning.contains(part)), "{part} in {:?}", status.warnings);
    }

    scene.stop().await?;
    scene.start().await?;
    retry(scene.client(), &tasks[0]).await?;
    scene.fill("while it is refused again").await?;
    ensure!(set_aside(scene.client(), &tasks[0]).await?.error == Some(error));
    scene.gate.set(|_| Fate::Asked);
    scene.fill("after the signer was mended").await?;
    retry(scene.client(), &tasks[0]).await?;
    let counts = scene.client().done(&tasks[0]).await?.counts.context("no counts")?;
    ensure!((counts.added, counts.replaced, counts.removed) == (2, 1, 1), "{counts:?}");
    scene.expected.insert("bad/1".to_owned(), Some(b"bad/1".to_vec()));
    scene.expected.insert("before/1".to_owned(), Some(b"replaced".to_vec()));
    scene.expected.insert("before/2".to_owned(), None);
    scene.expect("elsewhere");
    scene.sees().await?;
    ensure!(scene.client().status().await?.warnings.is_empty());
    scene.stop().await
}

/// A role whose every document is refused expires, and is named; everything else is renewed, for months.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_refused_keeps_no_other_from_being_renewed() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    let refuse_bin = |documents: &[Document]| {
        if documents.iter().any(|document| document.role == "bins-1") { FOR_GOOD } else { Fate::Asked }
    };
    scene.gate.set(refuse_bin);
    let mut bad = Vec::new();
    for number in 0..20 {
        let path = format!("path/{number}");
        let id = scene.submit(&path).await?;
        let ended = [TaskState::SetAside, TaskState::Done];
        until("it ends", async || Ok(ended.contains(&task(scene.client(), &id).await?.state()))).await?;
        match task(scene.client(), &id).await?.state() {
            TaskState::Done => scene.expect(&path),
            _ => bad.push((id, path)),
        }
    }
    ensure!((2..20).contains(&bad.len()), "{bad:?}");
    scene.expected.extend(bad.iter().map(|(_, path)| (path.clone(), None)));
    // One of them is taken meanwhile, and alone: what was signed of the others is taken back with it.
    scene.gate.set(|_| Fate::Asked);
    let (id, path) = bad.swap_remove(0);
    retry(scene.client(), &id).await?;
    let counts = scene.client().done(&id).await?.counts.context("no counts")?;
    ensure!((counts.added, counts.unchanged) == (1, 0), "{counts:?}");
    scene.expect(&path);
    scene.sees().await?;
    scene.gate.set(refuse_bin);
    let all = scene.expected.clone();
    scene.expected.retain(|other, _| *other != path && bad.iter().all(|(_, bad)| bad != other));
    for days in 0..40 {
        scene.fresh(&["snapshot", "timestamp"]).await.with_context(|| format!("after {days} days"))?;
        scene.manual.advance(DAY / 2);
        scene.fresh(&["snapshot", "timestamp"]).await.with_context(|| format!("after {days} days and a half"))?;
        scene.manual.advance(DAY / 2);
    }
    let files = fs::read_dir(scene.system.metadata_dir())?.collect::<std::io::Result<Vec<_>>>()?;
    let files = files.iter().filter(|file| file.file_name().to_string_lossy().ends_with(".bins-1.json")).count();
    ensure!(files < 10, "{files} documents of the role are kept");
    until("it is named", async || {
        let warnings = scene.client().status().await?.warnings;
        Ok(warnings.iter().any(|it| it.contains("the renewal of some roles waits for an operator"))
            && warnings.iter().any(|it| it == "bins-1 has expired"))
    })
    .await?;
    scene.gate.set(|_| Fate::Asked);
    scene.manual.advance(DAY / 48);
    let mut warnings = Vec::new();
    until("everything is well", async || {
        warnings = scene.client().status().await?.warnings;
        Ok(warnings.iter().all(|it| it.contains("set aside")))
    })
    .await
    .with_context(|| format!("{warnings:?}"))?;
    scene.expected = all;
    scene.fresh(&["snapshot", "timestamp", "bins"]).await?;
    scene.stop().await
}

/// A signer that refuses renewals too is at fault itself: nothing is set aside for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_refuses_everything_sets_nothing_aside() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    scene.gate.set(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        FOR_GOOD
    });
    let id = scene.submit("waits").await?;
    until("it was asked often", async || Ok(asked.load(Ordering::Relaxed) > 12)).await?;
    let status = scene.client().status().await?;
    ensure!(status.submissions_set_aside == 0, "{status:?}");
    let waits = |it: &String| it.contains("the publication waits for an operator");
    ensure!(status.warnings.iter().any(waits), "{:?}", status.warnings);
    ensure!(task(scene.client(), &id).await?.state() == TaskState::Running);
    scene.gate.set(|_| Fate::Asked);
    scene.client().done(&id).await?;
    scene.expect("waits");
    scene.sees().await?;
    ensure!(scene.client().status().await?.warnings.is_empty());
    scene.stop().await
}

/// What lies in the signer, or passes, is no batch's fault, however often it is said of that batch alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_signer_sets_nothing_aside() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    let of_the_signer = [
        Refusal::DiskFull,
        Refusal::VersionBudget,
        Refusal::ClockJumped,
        Refusal::NotPinned,
        Refusal::StateRestored,
        Refusal::ExpiresOutOfBounds,
    ];
    // Its clock may be ahead of every other by less than would be a jump.
    let fates = of_the_signer.map(Fate::Refused).into_iter().chain([Fate::Expired]);
    for (fate, number) in fates.zip(0..) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        scene.gate.set(move |documents| {
            let is_bad = lists(documents, &format!("{BAD}{number}"));
            count.fetch_add(is_bad.into(), Ordering::Relaxed);
            if is_bad { fate } else { Fate::Asked }
        });
        let path = format!("{BAD}{number}");
        let id = scene.submit(&path).await?;
        until("it was asked often", async || Ok(asked.load(Ordering::Relaxed) > 8)).await?;
        ensure!(task(scene.client(), &id).await?.state() == TaskState::Running, "{fate:?}");
        ensure!(scene.client().status().await?.submissions_set_aside == 0, "{fate:?}");
        scene.gate.set(|_| Fate::Asked);
        scene.client().done(&id).await?;
        scene.expect(&path);
    }
    scene.sees().await?;
    scene.stop().await
}

/// The signer signed the batch's snapshot, and the answer can't be used: what it lists is published all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_unusable_snapshot_lists_is_published() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    scene.fill("before").await?;
    let left = AtomicUsize::new(3);
    scene.gate.set(move |documents| {
        let is_left = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| it.checked_sub(1)).is_ok();
        if lists(documents, BAD) && is_left() { Fate::Garbled } else { Fate::Asked }
    });
    let id = scene.submit("bad/1").await?;
    scene.client().done(&id).await?;
    scene.expect("bad/1");
    scene.fill("later").await?;
    ensure!(scene.client().get("bad/1").await.is_ok(), "it is not listed");
    scene.stop().await
}
