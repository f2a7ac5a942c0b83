//! Somebody is away for a while.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rstuf_coordinator::{ConfigRaw, Coordinator, Parts, effects::StopAt};
use rstuf_runtime::{
    Clock, Context, Shutdown,
    config::{self, CommonRaw, Setting},
};
use rstuf_tests::{
    Client, Expected,
    processes::{Processes, Service},
    python, tough_judge,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::{Request, Witness};

/// A coordinator in this process, with a clock of its own, among signers that are real processes.
pub(crate) struct Ahead {
    running: JoinHandle<anyhow::Result<()>>,
    shutdown: Shutdown,
    pub(crate) client: Client,
}

impl Ahead {
    pub(crate) async fn start(system: &Processes, clock: Clock) -> anyhow::Result<Self> {
        Self::start_with(system, clock, system.url(Service::Snapshot), Arc::new(|_, _| None)).await
    }

    /// With the snapshot signer sought at this URL; stops where it is told to.
    pub(crate) async fn start_with(
        system: &Processes,
        clock: Clock,
        snapshot_url: String,
        stop_at: StopAt,
    ) -> anyhow::Result<Self> {
        let setting = |value: String| Some(Setting::from(value));
        let raw = ConfigRaw {
            common: CommonRaw {
                state_dir: setting(system.dir().join("coordinator").display().to_string()),
                ..CommonRaw::default()
            },
            published_dir: setting(system.dir().join("published").display().to_string()),
            targets_signer: setting(system.url(Service::Targets)),
            snapshot_signer: setting(snapshot_url),
            timestamp_signer: setting(system.url(Service::Timestamp)),
            ..ConfigRaw::default()
        };
        let shutdown = Shutdown::new();
        let context = Context::new("coordinator", clock, shutdown.clone());
        let coordinator = Coordinator::build(config::checked(&raw)?, Parts { stop_at, ..Parts::new(context) }).await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let client = Client::connect(&format!("http://{}", listener.local_addr()?), system.dir().join("artifacts"))?;
        Ok(Self { running: tokio::spawn(coordinator.run(listener)), shutdown, client })
    }

    pub(crate) async fn versions(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        let status = self.client.status().await?;
        Ok(status.roles.into_iter().map(|role| (role.role, role.version)).collect())
    }

    /// Whether it ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.running.is_finished()
    }

    /// Waits until a trap has stopped it.
    pub(crate) async fn stopped(self) -> anyhow::Result<()> {
        let ended = rstuf_tests::within("the coordinator's end", self.running).await??;
        let failure = ended.err().context("it ended without a word")?;
        ensure!(format!("{failure:#}").contains("stopped by a test"), "{failure:#}");
        Ok(())
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        rstuf_tests::within("the coordinator's end", self.running).await??
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_timestamp_are_renewed_while_the_targets_signer_is_away() -> anyhow::Result<()> {
    renewed_while_away(Service::Targets, &["snapshot", "timestamp"]).await
}

/// Clients go on with the published snapshot as long as it lives, though the next one can't be signed.
#[tokio::test(flavor = "multi_thread")]
async fn the_timestamp_is_renewed_while_the_snapshot_signer_is_away() -> anyhow::Result<()> {
    renewed_while_away(Service::Snapshot, &["timestamp"]).await
}

/// A submission waits for this signer for five days and a half; meanwhile these roles are kept fresh.
async fn renewed_while_away(signer: Service, renewed: &[&str]) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let mut expected: Expected = [("before".to_owned(), Some(b"it left".to_vec()))].into();
    system.client()?.add(&[("before", b"it left")]).await?;
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    system.terminate(Service::Coordinator).await?;

    // The signers' own clocks allow this: expiries stay within their bounds.
    let (clock, manual) = Clock::manual(Clock::system().now());
    let ahead = Ahead::start(&system, clock.clone()).await?;
    rstuf_tests::until("the coordinator is up", async || Ok(ahead.client.list("").await.is_ok())).await?;
    system.kill(signer)?;
    let stuck = Request::submit("stuck".to_owned(), vec![ahead.client.file("stuck", b"for a while")?]);
    let task = stuck.acknowledged(&ahead.client).await?;
    let before = ahead.versions().await?;
    for half_days in 1..=11_u32 {
        manual.advance(Duration::from_secs(12 * 3_600));
        let now = clock.now();
        rstuf_tests::until("a renewal", async || {
            let status = ahead.client.status().await?;
            let fresh = |role: &str| status.roles.iter().find(|it| it.role == role).and_then(|it| it.expires_at);
            let is_fresh = |role: &&str| fresh(role).is_some_and(|it| it.seconds > now.as_second() + 8 * 3_600);
            Ok(renewed.iter().all(is_fresh))
        })
        .await?;
        witness.sees(&expected, Some(now)).await.with_context(|| format!("after {half_days} half days"))?;
    }
    let after = ahead.versions().await?;
    ensure!(after["timestamp"] > before["timestamp"] + 4, "{after:?}");
    ensure!(renewed.iter().all(|role| after[*role] > before[*role]), "{after:?}");

    system.spawn(signer)?;
    ahead.client.done(&task).await?;
    expected.insert("stuck".to_owned(), Some(b"for a while".to_vec()));
    witness.sees(&expected, Some(clock.now())).await.context("after it came back")?;
    ahead.stop().await
}

/// Twenty days.
const HALF_DAYS: u32 = 40;

/// Signers are away for twenty days, each alone and each two of them, and the coordinator starts again meanwhile: no
/// client fails as long as the timestamp signer is there and the published snapshot lives. Where it is away, the
/// published timestamp dies, and nothing that it names goes.
#[tokio::test(flavor = "multi_thread")]
async fn clients_never_fail_while_signers_are_away_for_twenty_days() -> anyhow::Result<()> {
    let [targets, snapshot, timestamp] = Service::SIGNERS;
    let alone = [vec![targets], vec![snapshot], vec![timestamp]];
    let pairs = [vec![targets, snapshot], vec![targets, timestamp], vec![snapshot, timestamp]];
    for away in alone.into_iter().chain(pairs) {
        let names: Vec<_> = away.iter().map(|signer| signer.name()).collect();
        twenty_days_without(&away).await.with_context(|| format!("without {names:?}"))?;
    }
    Ok(())
}

async fn twenty_days_without(away: &[Service]) -> anyhow::Result<()> {
    let is_there = |signer| !away.contains(&signer);
    // A snapshot that nobody renews must live as long as the absence.
    let snapshot_days = if is_there(Service::Snapshot) { 7 } else { 30 };
    let dir = tempfile::tempdir()?;
    let mut system =
        Processes::start_for_long(dir.path(), "prefix:4", Duration::from_secs(snapshot_days * 24 * 3_600)).await?;
    let mut expected: Expected = [("before".to_owned(), Some(b"it left".to_vec()))].into();
    system.client()?.add(&[("before", b"it left")]).await?;
    let root = system.root_bytes()?;
    let witness = Witness::new(dir.path(), &root).await?;
    let tough = tough_judge::Judge::new(dir.path().join("tough"), &root);
    system.terminate(Service::Coordinator).await?;
    let (clock, manual) = Clock::manual(Clock::system().now());
    let mut ahead = Ahead::start(&system, clock.clone()).await?;
    rstuf_tests::until("the coordinator is up", async || Ok(ahead.client.list("").await.is_ok())).await?;
    let mut restarts = vec![1, 4];
    for signer in away {
        system.kill(*signer)?;
    }
    let mut task = None;
    for half_days in 1..=HALF_DAYS {
        let context = || format!("after {half_days} half days");
        manual.advance(Duration::from_secs(12 * 3_600));
        let now = clock.now();
        if restarts.first() == Some(&half_days) {
            restarts.remove(0);
            ahead.stop().await?;
            ahead = Ahead::start(&system, clock.clone()).await?;
            let stuck = Request::submit("stuck".to_owned(), vec![ahead.client.file("stuck", b"for a while")?]);
            task = Some(stuck.acknowledged(&ahead.client).await?);
        }
        if is_there(Service::Timestamp) {
            renewed(&ahead, now).await.with_context(context)?;
            witness.sees(&expected, Some(now)).await.with_context(context)?;
            tough.check(witness.mirror_url(), &expected).await.with_context(context)?;
        } else if half_days > 2 {
            // A day is over, and with it the timestamp: that is all that clients miss.
            let verdict = witness.sees(&expected, Some(now)).await;
            ensure!(python::environment().await?.is_none() || is_expired(&verdict), "{}: {verdict:?}", context());
            tough_judge::check(witness.mirror_url(), &root, &expected).await.with_context(context)?;
        }
    }
    ensure!(task.is_some() && restarts.is_empty());
    for signer in away {
        system.spawn(*signer)?;
    }
    ahead.client.done(&task.context("nothing was submitted")?).await?;
    expected.insert("stuck".to_owned(), Some(b"for a while".to_vec()));
    witness.sees(&expected, Some(clock.now())).await.context("after all came back")?;
    tough.check(witness.mirror_url(), &expected).await?;
    ahead.stop().await
}

/// Waits until the timestamp lives for some hours from now on.
async fn renewed(ahead: &Ahead, now: Timestamp) -> anyhow::Result<()> {
    rstuf_tests::until("a renewal", async || {
        let status = ahead.client.status().await?;
        let fresh = status.roles.iter().find(|it| it.role == "timestamp").and_then(|it| it.expires_at);
        Ok(fresh.is_some_and(|it| it.seconds > now.as_second() + 8 * 3_600))
    })
    .await
}

fn is_expired(verdict: &anyhow::Result<()>) -> bool {
    verdict.as_ref().is_err_and(|error| format!("{error:#}").contains("timestamp.json is expired"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_waits_for_whichever_signer_is_away() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let (client, mut expected) = (system.client()?, Expected::new());
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    for signer in Service::SIGNERS {
        system.kill(signer)?;
        let path = format!("while-{}-is-away", signer.name());
        let task = client.submit(vec![client.file(&path, b"waits")?]).await?;
        witness.sees(&expected, None).await.with_context(|| path.clone())?;
        // The whole system goes down and comes back without it, and with it.
        system.kill(Service::Coordinator)?;
        system.spawn(Service::Coordinator)?;
        witness.sees(&expected, None).await.with_context(|| path.clone())?;
        // A start acknowledges before every signer answers.
        let later = format!("{path}-from-the-start");
        let request = Request::submit(later.clone(), vec![client.file(&later, b"waits too")?]);
        let later_task = request.acknowledged(&client).await?;
        system.spawn(signer)?;
        client.done(&task).await?;
        client.done(&later_task).await?;
        expected.insert(path.clone(), Some(b"waits".to_vec()));
        expected.insert(later, Some(b"waits too".to_vec()));
        witness.sees(&expected, None).await.context(path)?;
    }
    Ok(())
}
