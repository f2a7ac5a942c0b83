//! Loops of the coordinator that stand still or die.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::ensure;
use rstuf_coordinator::effects::{Effect, Moment, Stop, StopAt};
use rstuf_runtime::liveness::BEAT_MAX;
use rstuf_tests::{TestRepo, until};

use crate::support::Request;

/// Where the coordinator's effects stop, once it is armed.
fn stop_at(effect: Effect, armed: &Arc<AtomicBool>, stop: impl Fn() -> Stop + Send + Sync + 'static) -> StopAt {
    let armed = armed.clone();
    Arc::new(move |at, when| {
        let stops = (at, when) == (effect, Moment::Before) && armed.load(Ordering::SeqCst);
        stops.then(&stop)
    })
}

async fn livez(repo: &TestRepo) -> anyhow::Result<(u16, String)> {
    let answer = reqwest::get(format!("{}/livez", repo.admin_url("coordinator"))).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// Time of waits is moved by hand, so that nobody waits for it; that of calls goes on by itself.
async fn wait_for(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Whoever watches the process is told which loop stands still, and nothing of those that only wait: for work, or for
/// that loop.
#[tokio::test]
async fn a_loop_that_stands_still_is_named() -> anyhow::Result<()> {
    let loops = [(Effect::SignTargets, "batcher"), (Effect::SignSnapshot, "lane"), (Effect::Cancel, "intake")];
    for (effect, name) in loops {
        let armed = Arc::new(AtomicBool::new(false));
        let reached = Arc::new(AtomicBool::new(false));
        let stand = reached.clone();
        let stop_at = stop_at(effect, &armed, move || {
            stand.store(true, Ordering::SeqCst);
            Stop::Still
        });
        let repo = TestRepo::builder().layout("succinct:4").stop_at(stop_at).start().await?;
        wait_for(BEAT_MAX.as_secs()).await;
        until("all loops beat while they wait", async || Ok(livez(&repo).await? == (200, "ok\n".to_owned()))).await?;
        let client = repo.client();
        let request = Request::hold("stuck".to_owned(), vec![client.file("stuck", b"for ever")?]);
        let task = request.acknowledged(&client).await?;
        armed.store(true, Ordering::SeqCst);
        let caller = client.clone();
        // Nobody answers it.
        tokio::spawn(async move {
            match effect {
                Effect::Cancel => drop(caller.cancel(&task).await),
                _ => drop(Request::publish("all".to_owned()).send(&caller).await),
            }
        });
        until("it stands still", async || Ok(reached.load(Ordering::SeqCst))).await?;
        let status = client.status().await?;
        let counts = (status.submissions_waiting, status.submissions_running, status.submissions_held);
        let expected = if effect == Effect::Cancel { (0, 0, 1) } else { (0, 2, 0) };
        ensure!(counts == expected, "while it is under way: {status:?}");
        ensure!(livez(&repo).await?.0 == 200, "not before its time");
        wait_for(BEAT_MAX.as_secs()).await;
        let alone = async || {
            let (status, body) = livez(&repo).await?;
            Ok(status == 503 && body.lines().count() == 1 && body.starts_with(&format!("the {name} has not gone on")))
        };
        until("it alone is named", alone).await?;
    }
    Ok(())
}

/// A loop that panics takes the process along: nothing goes on without it.
#[tokio::test]
async fn a_loop_that_dies_ends_the_process() -> anyhow::Result<()> {
    for effect in [Effect::SignTargets, Effect::ReplaceTimestamp] {
        let armed = Arc::new(AtomicBool::new(false));
        let stop_at = stop_at(effect, &armed, || panic!("died in a test"));
        let mut repo = TestRepo::builder().layout("succinct:4").stop_at(stop_at).start().await?;
        armed.store(true, Ordering::SeqCst);
        let client = repo.client();
        let task = client.submit(vec![client.file("acknowledged", b"before")?]).await?;
        let failure = format!("{:#}", repo.failure().await?);
        ensure!(failure.contains("a part of the coordinator died"), "{failure}");
        armed.store(false, Ordering::SeqCst);
        repo.start().await?;
        repo.client().done(&task).await?;
        repo.stop().await?;
    }
    Ok(())
}
