//! One stuck thing: a batch whose snapshot is not to be had. Nothing else waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rstuf_coordinator::effects::{Effect, Moment, StopAt};
use rstuf_runtime::{Clock, ManualClock};
use rstuf_tests::{
    Client, Expected,
    processes::{Processes, Service},
    until,
};
use tempfile::TempDir;

use crate::{
    absences::Ahead,
    effects::Trap,
    gate::{Fate, Gate, lists},
    support::{Request, Witness},
};

const HALF_DAY: Duration = Duration::from_secs(12 * 3_600);

/// Signers that are processes, a gate before that of snapshots, and a coordinator with a clock that the test moves.
pub(crate) struct Scene {
    pub(crate) system: Processes,
    pub(crate) gate: Gate,
    pub(crate) clock: Clock,
    pub(crate) manual: ManualClock,
    stop_at: StopAt,
    ahead: Option<Ahead>,
    pub(crate) witness: Witness,
    pub(crate) expected: Expected,
    _dir: TempDir,
}

impl Scene {
    pub(crate) async fn new(stop_at: StopAt) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        // The signers' own clocks stand still meanwhile.
        let mut system = Processes::start_with(dir.path(), "succinct:4", &["--lifetime-days-max=120"]).await?;
        let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
        system.terminate(Service::Coordinator).await?;
        let gate = Gate::before(&system.url(Service::Snapshot)).await?;
        let (clock, manual) = Clock::manual(Clock::system().now());
        let expected = Expected::new();
        let mut scene = Self { system, gate, clock, manual, stop_at, ahead: None, witness, expected, _dir: dir };
        scene.start().await?;
        Ok(scene)
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        // What died may hold its directories for a moment.
        let is_held = |error: &anyhow::Error| format!("{error:#}").contains("by another");
        let mut started = None;
        until("the directories are free", async || {
            let (clock, url, stop_at) = (self.clock.clone(), self.gate.url.clone(), self.stop_at.clone());
            started = match Ahead::start_with(&self.system, clock, url, stop_at).await {
                Err(error) if is_held(&error) => None,
                started => Some(started?),
            };
            Ok(started.is_some())
        })
        .await?;
        let ahead = started.context("it did not start")?;
        until("the coordinator is up", async || Ok(ahead.client.status().await.is_ok())).await?;
        self.ahead = Some(ahead);
        Ok(())
    }

    pub(crate) fn ahead(&self) -> &Ahead {
        self.ahead.as_ref().unwrap()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.ahead().client
    }

    /// Takes the coordinator away, however it is.
    pub(crate) fn take(&mut self) -> anyhow::Result<Ahead> {
        self.ahead.take().context("it does not run")
    }

    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.take()?.stop().await
    }

    /// Submits one file; answers the task.
    pub(crate) async fn submit(&self, path: &str) -> anyhow::Result<String> {
        let client = &self.ahead().client;
        Request::submit(path.to_owned(), vec![client.file(path, path.as_bytes())?]).acknowledged(client).await
    }

    pub(crate) fn expect(&mut self, path: &str) {
        self.expected.insert(path.to_owned(), Some(path.as_bytes().to_vec()));
    }

    /// Waits until these roles are fresh, and clients see what they shall.
    pub(crate) async fn fresh(&self, roles: &[&str]) -> anyhow::Result<()> {
        let (client, now) = (&self.ahead().client, self.clock.now());
        until("everything is fresh", async || {
            let status = client.status().await?;
            let expires = |role: &str| status.roles.iter().find(|it| it.role.starts_with(role))?.expires_at;
            let is_fresh = |role: &&str| expires(role).is_some_and(|it| it.seconds > now.as_second() + 8 * 3_600);
            Ok(roles.iter().all(is_fresh))
        })
        .await?;
        self.sees().await
    }

    pub(crate) async fn sees(&self) -> anyhow::Result<()> {
        self.witness.sees(&self.expected, Some(self.now())).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A timestamp that was renewed while the start waited for the snapshot signer, and of which the journal knows only
/// that it was asked for, is gone on with as it was: nothing else is signed for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_that_the_start_asked_for_is_gone_on_with() -> anyhow::Result<()> {
    for moment in [(Effect::SignTimestamp, Moment::After), (Effect::ReplaceTimestamp, Moment::After)] {
        let trap = Trap::default();
        let mut scene = Scene::new(trap.stop_at()).await?;
        let before = scene.ahead().versions().await?;
        scene.stop().await?;
        scene.system.kill(Service::Snapshot)?;
        trap.arm(moment.0, moment.1);
        scene.start().await?;
        scene.manual.advance(HALF_DAY + HALF_DAY / 2);
        until("the coordinator dies", async || Ok(scene.ahead().is_over())).await?;
        ensure!(scene.take()?.stop().await.is_err());
        scene.sees().await?;
        scene.system.spawn(Service::Snapshot)?;
        scene.system.ready(Service::Snapshot).await?;
        scene.start().await?;
        scene.fresh(&["timestamp"]).await?;
        let after = scene.ahead().versions().await?;
        ensure!(after["timestamp"] == before["timestamp"] + 1, "{moment:?}: {before:?} became {after:?}");
        ensure!(after["snapshot"] == before["snapshot"], "{moment:?}: {before:?} became {after:?}");
        scene.stop().await?;
    }
    Ok(())
}

/// Never stops.
pub(crate) fn never() -> StopAt {
    Arc::new(|_, _| None)
}

/// The signer can't be asked for this batch (its request is lost on the way), and answers everything else: it renews
/// for weeks, through restarts, and the batch is published when it can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_get_through_makes_way_for_renewals() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    scene.gate.set(|documents| if lists(documents, "stuck") { Fate::Lost } else { Fate::Asked });
    let task = scene.submit("stuck").await?;
    let before = scene.ahead().versions().await?;
    for half_days in 1..=30_u32 {
        scene.manual.advance(HALF_DAY);
        if half_days % 7 == 0 {
            scene.stop().await?;
            scene.start().await?;
        }
        scene.fresh(&["snapshot", "timestamp"]).await.with_context(|| format!("after {half_days} half days"))?;
    }
    let after = scene.ahead().versions().await?;
    ensure!(after["snapshot"] > before["snapshot"] + 1, "{before:?} became {after:?}");
    scene.gate.set(|_| Fate::Asked);
    scene.ahead().client.done(&task).await?;
    scene.expect("stuck");
    scene.sees().await.context("after it got through")?;
    scene.stop().await
}

/// The signer signed for this batch and nobody heard of it: a renewal goes above that, with what it lists, and the
/// batch above the renewal, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_snapshot_nobody_heard_of_makes_way_for_renewals() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    let renewed = AtomicBool::new(false);
    scene.gate.set(move |documents| {
        renewed.fetch_or(!lists(documents, "stuck"), Ordering::Relaxed);
        if renewed.load(Ordering::Relaxed) { Fate::Asked } else { Fate::Unheard }
    });
    let before = scene.ahead().versions().await?;
    let task = scene.submit("stuck").await?;
    for _ in 0..9 {
        scene.manual.advance(HALF_DAY);
        scene.fresh(&["snapshot", "timestamp"]).await?;
    }
    scene.manual.advance(HALF_DAY);
    let done = scene.ahead().client.done(&task).await?;
    ensure!(done.counts.is_some_and(|counts| counts.added == 1), "{done:?}");
    scene.expect("stuck");
    scene.fresh(&["snapshot", "timestamp"]).await?;
    ensure!(scene.ahead().client.get("stuck").await.is_ok(), "it is not listed");
    let after = scene.ahead().versions().await?;
    ensure!(after["snapshot"] == before["snapshot"] + 3, "{before:?} became {after:?}");
    scene.stop().await
}
