//! What is set aside, or dropped, though the targets signer signed it: its next documents take that back.

use std::{
    ffi::OsString,
    fs,
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, ensure};
use rstuf_api::proto::tasks::v1::TaskState;
use rstuf_coordinator::effects::{Effect, Moment, Stop, StopAt};
use rstuf_tests::{processes::Service, until};
use sha2::{Digest as _, Sha256};

use crate::{
    effects::Trap,
    gate::Fate,
    refused::{BAD, refuse_bad, retry, set_aside, task},
    stuck::{Scene, never},
    support::Request,
    unfit::Running,
};

/// Whether it is in the third of four bins.
fn is_in_bins_2(path: &str) -> bool {
    Sha256::digest(path)[0] >> 6 == 2
}

/// All paths in a folder of which this holds.
fn paths(folder: &str, holds: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    (0_u32..).map(move |number| format!("{folder}/{number}")).filter(move |path| holds(path))
}

/// What is dropped fails, and nobody ever sees it, though the targets signer signed it, and whatever is lost then.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_never_seen() -> anyhow::Result<()> {
    let trap = Trap::default();
    let mut scene = Scene::new(trap.stop_at()).await?;
    scene.fill("before").await?;
    refuse_bad(&scene);
    trap.arm(Effect::SetAside, Moment::After);
    let id = scene.submit("bad/1").await?;
    dies(&mut scene).await?;
    // What was signed for it, and is the signer's last document, would be taken now.
    scene.gate.set(|_| Fate::Asked);
    scene.start().await?;
    scene.expected.insert("bad/1".to_owned(), None);
    scene.fill("later").await?;
    let failed = scene.client().cancel(&id).await?;
    ensure!(failed.state() == TaskState::Failed && failed.error.is_some(), "{failed:?}");
    scene.fill("after it was dropped").await?;
    ensure!(scene.client().list(BAD).await?.is_empty());
    scene.stop().await
}

/// Waits until the coordinator is dead.
async fn dies(scene: &mut Scene) -> anyhow::Result<()> {
    until("the coordinator dies", async || Ok(scene.ahead().is_over())).await?;
    ensure!(scene.take()?.stop().await.is_err());
    Ok(())
}

/// The request that takes back what was signed is asked for again as it was: its version is the next one, and no other
/// is used up, though its answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_back_is_the_same_request_again() -> anyhow::Result<()> {
    let trap = Trap::default();
    let mut scene = Scene::new(trap.stop_at()).await?;
    scene.fill("before").await?;
    let newest = |scene: &Scene| {
        let names = fs::read_dir(scene.system.metadata_dir())?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<std::io::Result<Vec<_>>>()?;
        let version = |name: &OsString| name.to_str()?.strip_suffix(".bins-2.json")?.parse::<u32>().ok();
        anyhow::Ok(names.iter().filter_map(version).max().unwrap_or_default())
    };
    let bad = paths("bad", is_in_bins_2).next().context("no path")?;
    let before = newest(&scene)?;
    refuse_bad(&scene);
    trap.arm(Effect::SetAside, Moment::After);
    scene.submit(&bad).await?;
    dies(&mut scene).await?;
    trap.arm(Effect::SignTargets, Moment::After);
    scene.start().await?;
    dies(&mut scene).await?;
    scene.start().await?;
    // It was signed and taken back among others first, then alone. What comes of another role ends after that.
    scene.expected.insert(bad, None);
    until("it is taken back", async || Ok(newest(&scene)? >= before + 4)).await?;
    let other = paths("other", |path| !is_in_bins_2(path)).next().context("no path")?;
    let id = scene.submit(&other).await?;
    scene.client().done(&id).await?;
    scene.expect(&other);
    scene.sees().await?;
    ensure!(newest(&scene)? == before + 4, "version {} after {before}", newest(&scene)?);
    scene.stop().await
}

/// The journal is lost before that was taken back. The signer is caught up with then: nobody waits for what it signed
/// as long as that is refused, nor sees it; where it is not refused any more, all see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_lost_before_that_blocks_nobody() -> anyhow::Result<()> {
    for is_mended in [false, true] {
        let trap = Trap::default();
        let mut scene = Scene::new(trap.stop_at()).await?;
        scene.fill("before").await?;
        refuse_bad(&scene);
        trap.arm(Effect::SetAside, Moment::After);
        scene.submit("bad/1").await?;
        dies(&mut scene).await?;
        fs::remove_dir_all(scene.system.dir().join("coordinator"))?;
        if is_mended {
            scene.gate.set(|_| Fate::Asked);
        }
        scene.expected.insert("bad/1".to_owned(), is_mended.then(|| b"bad/1".to_vec()));
        scene.start().await?;
        scene.fill("later").await?;
        scene.stop().await?;
    }
    Ok(())
}

/// Where the targets signer's operators limit removals below what would have to be taken back, the role goes on all the
/// same, with what was signed, and a retry finds that.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_taken_back_is_published_along() -> anyhow::Result<()> {
    let mut scene = Scene::new(never()).await?;
    scene.system.terminate(Service::Targets).await?;
    let _limited = Running::start(scene.system.command(Service::Targets).arg("--removals-per-publication-max=1"))?;
    scene.fill("before").await?;
    refuse_bad(&scene);
    let bad: Vec<_> = paths("bad", is_in_bins_2).take(3).collect();
    let changes = bad.iter().map(|path| scene.file(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let id = Request::submit("bad".to_owned(), changes).acknowledged(scene.client()).await?;
    set_aside(scene.client(), &id).await?;
    scene.gate.set(|_| Fate::Asked);
    for path in paths("good", is_in_bins_2).take(3) {
        let id = scene.submit(&path).await?;
        scene.client().done(&id).await?;
        scene.expect(&path);
    }
    bad.iter().for_each(|path| scene.expect(path));
    scene.sees().await?;
    retry(scene.client(), &id).await?;
    let counts = scene.client().done(&id).await?.counts.context("no counts")?;
    ensure!((counts.added, counts.unchanged) == (0, 3), "{counts:?}");
    ensure!(scene.client().list(BAD).await?.len() == 3);
    ensure!(scene.client().status().await?.warnings.is_empty());
    scene.stop().await
}

/// Stops the coordinator dead at the next moment of that number, of whatever effect.
#[derive(Clone, Default)]
struct Countdown(Arc<Mutex<Option<usize>>>);

impl Countdown {
    fn arm(&self, moments: usize) {
        *self.0.lock().unwrap() = Some(moments);
    }

    /// Whether it never came to that.
    fn disarm(&self) -> bool {
        self.0.lock().unwrap().take().is_some()
    }

    fn stop_at(&self) -> StopAt {
        let left = self.0.clone();
        Arc::new(move |_, _| {
            let mut left = left.lock().unwrap();
            *left = left.map(|left| left.saturating_sub(1));
            left.take_if(|left| *left == 0).map(|_| Stop::Dead)
        })
    }
}

impl Scene {
    /// A bad and a good one in one batch, until both ended, whatever dies meanwhile. Answers the task of the bad one.
    async fn settled(&mut self, number: usize) -> anyhow::Result<String> {
        let path = |name: &str| format!("{name}/{number}");
        let requests = [
            Request::hold(path("hold bad"), vec![self.file(&path("bad"))?, self.file(&path("with it"))?]),
            Request::hold(path("hold good"), vec![self.file(&path("good"))?]),
            Request::publish(path("publish")),
        ];
        let mut states = Vec::new();
        Box::pin(until("both ended", async || {
            if self.ahead().is_over() {
                let failure = format!("{:#}", self.take()?.stop().await.err().context("it ended")?);
                ensure!(failure.contains("stopped by a test"), "{failure}");
                self.sees().await.context("while it was down")?;
                self.start().await?;
            }
            states.clear();
            for request in &requests {
                let Some(id) = request.send(self.client()).await? else { return Ok(false) };
                let Ok(task) = task(self.client(), &id).await else { return Ok(false) };
                states.push((id, task.state()));
            }
            let is_over = |(_, state): &(String, TaskState)| matches!(state, TaskState::Done | TaskState::SetAside);
            Ok(states.iter().all(is_over))
        }))
        .await
        .with_context(|| format!("{states:?}"))?;
        let ended: Vec<_> = states.iter().map(|(_, state)| *state).collect();
        ensure!(ended == [TaskState::SetAside, TaskState::Done, TaskState::Done], "{ended:?}");
        self.expect(&path("good"));
        self.expected.extend(["bad", "with it"].map(|name| (path(name), None)));
        Ok(states.swap_remove(0).0)
    }
}

/// From the acknowledgement until what is refused is set aside and what was signed of it is taken back: broken at every
/// moment.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_set_aside_through_a_break_anywhere() -> anyhow::Result<()> {
    let countdown = Countdown::default();
    let mut scene = Scene::new(countdown.stop_at()).await?;
    scene.fill("before").await?;
    refuse_bad(&scene);
    let mut moments = 0;
    loop {
        moments += 1;
        countdown.arm(moments);
        let bad = Box::pin(scene.settled(moments)).await.with_context(|| format!("moment {moments}"))?;
        let is_whole = countdown.disarm();
        scene.sees().await.with_context(|| format!("moment {moments}"))?;
        let failed = scene.client().cancel(&bad).await?;
        ensure!(failed.state() == TaskState::Failed, "{failed:?}");
        if is_whole {
            break;
        }
    }
    ensure!(moments > 50, "only {moments} moments");
    scene.fill("after").await?;
    scene.stop().await
}
