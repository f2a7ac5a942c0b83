//! What is asked for next is journalled with what was signed: it holds through a crash, and gives way to what was
//! published meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rstuf_coordinator::effects::{Effect, Moment, Stop, StopAt};
use rstuf_runtime::Clock;
use rstuf_tests::{
    Expected, TestRepo,
    processes::{Processes, Service},
    until,
};

use crate::{
    absences::Ahead,
    effects::{Numbers, Trap},
    support::{Request, Witness},
};

/// A coordinator that dies when the snapshot is written needs the snapshot signer no more to publish it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_written_is_published_while_its_signer_is_away() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    system.client()?.add(&[("before", b"it left")]).await?;
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    system.terminate(Service::Coordinator).await?;
    let trap = Trap::default();
    let (clock, signer) = (Clock::system(), system.url(Service::Snapshot));
    let ahead = Ahead::start_with(&system, clock.clone(), signer, trap.stop_at()).await?;
    until("the coordinator is up", async || Ok(ahead.client.list("").await.is_ok())).await?;
    trap.arm(Effect::WriteSnapshot, Moment::After);
    let request = Request::submit("written".to_owned(), vec![ahead.client.file("written", b"but not seen")?]);
    let task = request.acknowledged(&ahead.client).await?;
    ahead.stopped().await?;

    system.kill(Service::Snapshot)?;
    let mut started = None;
    // The one before lets go of its directories when its last connection has ended.
    until("the directories are free", async || {
        match Ahead::start(&system, clock.clone()).await {
            Ok(ahead) => started = Some(ahead),
            Err(error) if format!("{error:#}").contains("in use by another") => {}
            Err(error) => return Err(error),
        }
        Ok(started.is_some())
    })
    .await?;
    let ahead = started.context("not started")?;
    ahead.client.done(&task).await?;
    let contents = [("before", b"it left".to_vec()), ("written", b"but not seen".to_vec())];
    let mut expected: Expected = contents.map(|(path, content)| (path.to_owned(), Some(content))).into();
    witness.sees(&expected, None).await?;
    system.spawn(Service::Snapshot)?;
    ahead.client.add(&[("after", b"it came back")]).await?;
    expected.insert("after".to_owned(), Some(b"it came back".to_vec()));
    witness.sees(&expected, None).await?;
    ahead.stop().await
}

/// A renewal that comes between what was signed and its publication takes the version of the timestamp that was
/// planned for that: the next one is asked for, and nothing else changes.
#[tokio::test]
async fn a_batch_is_planned_anew_after_a_renewal() -> anyhow::Result<()> {
    let (is_armed, is_held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (armed, held) = (is_armed.clone(), is_held.clone());
    // The batch stands still while the timestamp is renewed; then all of the coordinator dies.
    let stop_at: StopAt = Arc::new(move |effect, moment| match (effect, moment) {
        _ if !armed.load(Ordering::SeqCst) => None,
        (Effect::JournalTargets, Moment::After) => {
            held.store(true, Ordering::SeqCst);
            Some(Stop::Still)
        }
        (Effect::Finish, Moment::After) => {
            armed.store(false, Ordering::SeqCst);
            Some(Stop::Dead)
        }
        _ => None,
    });
    let start = "2027-01-01T00:00:00Z".parse()?;
    let mut repo = TestRepo::builder().layout("succinct:4").manual_clock(start).stop_at(stop_at).start().await?;
    let client = repo.client();
    let before = Numbers::of(&client).await?;
    is_armed.store(true, Ordering::SeqCst);
    let task = client.submit(vec![client.file("waits", b"a moment")?]).await?;
    until("it is signed", async || Ok(is_held.load(Ordering::SeqCst))).await?;
    repo.manual().advance(Duration::from_secs(18 * 3_600));
    let failure = format!("{:#}", repo.failure().await?);
    ensure!(failure.contains("stopped by a test"), "{failure}");
    repo.start().await?;
    let client = repo.client();
    client.done(&task).await?;
    let renewed = Numbers { publication: before.publication + 1, timestamp: before.timestamp + 1, ..before };
    let after = Numbers::of(&client).await?;
    ensure!(after == renewed.next(), "{renewed:?} became {after:?}");
    repo.stop().await
}
