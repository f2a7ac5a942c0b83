//! One stuck thing: a batch whose snapshot is not to be had. Nothing else waits for it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rstuf_coordinator::effects::StopAt;
use rstuf_runtime::{Clock, ManualClock};
use rstuf_tests::{
    Expected,
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
struct Scene {
    system: Processes,
    gate: Gate,
    clock: Clock,
    manual: ManualClock,
    trap: Trap,
    ahead: Option<Ahead>,
    witness: Witness,
    expected: Expected,
    _dir: TempDir,
}

impl Scene {
    async fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        // The signers' own clocks stand still meanwhile.
        let mut system = Processes::start_with(dir.path(), "succinct:4", &["--lifetime-days-max=60"]).await?;
        let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
        system.terminate(Service::Coordinator).await?;
        let gate = Gate::before(&system.url(Service::Snapshot)).await?;
        let (clock, manual) = Clock::manual(Clock::system().now());
        let (trap, expected) = (Trap::default(), Expected::new());
        let mut scene = Self { system, gate, clock, manual, trap, ahead: None, witness, expected, _dir: dir };
        scene.start().await?;
        Ok(scene)
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let stop_at: StopAt = self.trap.stop_at();
        let ahead = Ahead::start_with(&self.system, self.clock.clone(), self.gate.url.clone(), stop_at).await?;
        until("the coordinator is up", async || Ok(ahead.client.status().await.is_ok())).await?;
        self.ahead = Some(ahead);
        Ok(())
    }

    fn ahead(&self) -> &Ahead {
        self.ahead.as_ref().unwrap()
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        self.ahead.take().context("it does not run")?.stop().await
    }

    /// Submits one file; answers the task.
    async fn submit(&self, path: &str) -> anyhow::Result<String> {
        let client = &self.ahead().client;
        Request::submit(path.to_owned(), vec![client.file(path, path.as_bytes())?]).acknowledged(client).await
    }

    fn expect(&mut self, path: &str) {
        self.expected.insert(path.to_owned(), Some(path.as_bytes().to_vec()));
    }

    /// Waits until these roles are fresh, and clients see what they shall.
    async fn fresh(&self, roles: &[&str]) -> anyhow::Result<()> {
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

    async fn sees(&self) -> anyhow::Result<()> {
        self.witness.sees(&self.expected, Some(self.now())).await
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The signer can't be asked for this batch (its request is lost on the way), and answers everything else: it renews
/// for weeks, through restarts, and the batch is published when it can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_get_through_makes_way_for_renewals() -> anyhow::Result<()> {
    let mut scene = Scene::new().await?;
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
    let mut scene = Scene::new().await?;
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
