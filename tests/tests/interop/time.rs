//! Time passes: what is published stays fresh by itself, and heals after a long stop.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rstuf_coordinator::effects::{Effect, Moment, Stop};
use rstuf_tests::{TestRepo, until};

use crate::scene::Scene;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn start() -> Timestamp {
    // Not the system's time: nothing may depend on it.
    "2031-02-27T12:34:56Z".parse().unwrap()
}

async fn version(scene: &Scene, role: &str) -> anyhow::Result<u32> {
    let roles = scene.client().status().await?.roles;
    Ok(roles.iter().find(|status| status.role == role).map_or(0, |status| status.version))
}

/// When the published documents with such a name expire.
fn expiries(scene: &Scene, name: &str) -> anyhow::Result<BTreeSet<Timestamp>> {
    let files = scene.metadata_files()?.into_iter().filter(|file| file.contains(name));
    let expires = files.map(|file| {
        let document: serde_json::Value = serde_json::from_slice(&fs::read(scene.repo.metadata_dir().join(file))?)?;
        Ok(document["signed"]["expires"].as_str().unwrap_or_default().parse()?)
    });
    expires.collect()
}

/// From the start.
fn until_then(time: Timestamp) -> Duration {
    time.duration_since(start()).unsigned_abs()
}

/// Whether nothing is due any more: a third of every online role's lifetime is left.
async fn is_fresh(scene: &Scene) -> anyhow::Result<bool> {
    let days = |role: &str| match role {
        "timestamp" => 1,
        "snapshot" => 7,
        "root" | "targets" => 0,
        _ => 30,
    };
    let now = scene.now().as_second();
    let roles = scene.client().status().await?.roles;
    let left = |status: &rstuf_api::proto::repository::v1::RoleStatus| status.expires_at.unwrap().seconds - now;
    Ok(roles.iter().all(|status| left(status) > days(&status.role) * 24 * 3_600 / 3))
}

/// A client with old state succeeds at every moment of two months in which nobody does anything.
#[tokio::test(flavor = "multi_thread")]
async fn left_alone_it_stays_fresh() -> anyhow::Result<()> {
    let mut scene = Scene::with("succinct:8", TestRepo::builder().manual_clock(start())).await?;
    let first = expiries(&scene, ".bins-")?;
    assert!(first.len() > 4, "the bins don't all fall due at once: {first:?}");
    assert!(first.iter().all(|expires| (20 * DAY..=30 * DAY).contains(&until_then(*expires))), "{first:?}");
    scene.add(&[("quiet/one", b"1"), ("quiet/two", b"2")]).await?;
    scene.judge().await?;
    let (asleep, fresh) = (scene.another_client("asleep")?, scene.another_client("fresh")?);
    asleep.check(scene.repo.mirror_url(), &scene.expected, Some(scene.now())).await?;
    let bins = |files: Vec<String>| files.into_iter().filter(|name| name.contains(".bins-")).collect::<Vec<_>>();
    let (snapshot, timestamp) = (version(&scene, "snapshot").await?, version(&scene, "timestamp").await?);
    let old = bins(scene.metadata_files()?);
    for _ in 0..60 * 4 {
        scene.repo.manual().advance(6 * HOUR);
        // Before, while and after what is due is renewed.
        scene.judge().await?;
        until("what is due is renewed", async || is_fresh(&scene).await).await?;
    }
    // One that did not ask for two months, and one that never did.
    for client in [asleep, fresh] {
        client.check(scene.repo.mirror_url(), &scene.expected, Some(scene.now())).await?;
    }
    assert!(version(&scene, "timestamp").await? >= timestamp + 60 * 24 / 16 - 1);
    assert!(version(&scene, "snapshot").await? >= snapshot + 60 / 5);
    assert!(version(&scene, "timestamp").await? < timestamp + 60 * 4, "it is not renewed at every step");
    let new = bins(scene.metadata_files()?);
    assert!(old.iter().all(|name| !new.contains(name)), "every bin was renewed, and the old ones are gone: {new:?}");
    assert!(scene.metadata_files()?.len() < 8 * 2 + 10, "what was superseded is deleted: {:?}", scene.metadata_files());
    scene.add(&[("quiet/three", b"3")]).await?;
    scene.judge().await?;
    scene.repo.stop().await
}

/// Stopped for a week, then for forty days: fresh again, for clients old and new, in every layout.
#[tokio::test(flavor = "multi_thread")]
async fn heals_after_a_long_stop() -> anyhow::Result<()> {
    for layout in ["flat", "prefix:16", "succinct:256"] {
        let mut scene = Scene::with(layout, TestRepo::builder().manual_clock(start())).await?;
        scene.add(&[("old/one", b"1")]).await?;
        scene.judge().await?;
        for days in [7, 40] {
            scene.repo.stop().await?;
            scene.repo.manual().advance(days * DAY);
            scene.repo.start().await?;
            until("fresh again", async || is_fresh(&scene).await).await?;
            scene.judge().await?;
            scene.add(&[(&format!("after/{days}"), b"new")]).await?;
            scene.judge().await?;
        }
        scene.repo.stop().await?;
    }
    Ok(())
}

/// Stopped dead in the middle of a publication, and for forty days: what was acknowledged is published all the same,
/// though all that was signed or planned for it has expired.
#[tokio::test(flavor = "multi_thread")]
async fn heals_in_the_middle_of_a_publication() -> anyhow::Result<()> {
    let steps = [
        (Effect::PlanBatch, Moment::After),
        (Effect::SignTargets, Moment::After),
        (Effect::JournalTargets, Moment::After),
        (Effect::SignSnapshot, Moment::After),
        (Effect::WriteSnapshot, Moment::After),
        (Effect::SignTimestamp, Moment::After),
        (Effect::ReplaceTimestamp, Moment::After),
    ];
    for (step, moment) in steps {
        let armed = Arc::new(AtomicBool::new(false));
        let trigger = armed.clone();
        let stops = move |at, when| (at, when) == (step, moment) && trigger.load(Ordering::SeqCst);
        let stop_at = Arc::new(move |at, when| stops(at, when).then_some(Stop::Dead));
        let builder = TestRepo::builder().manual_clock(start()).stop_at(stop_at);
        let mut scene = Scene::with("succinct:4", builder).await?;
        scene.add(&[("before", b"b")]).await?;
        scene.judge().await?;
        armed.store(true, Ordering::SeqCst);
        let client = scene.client();
        let files = [("stuck/one", b"1"), ("stuck/two", b"2")];
        let changes = files.iter().map(|(path, bytes)| client.file(path, *bytes)).collect::<Result<_, _>>()?;
        let task = client.submit(changes).await?;
        let failure = scene.repo.failure().await?;
        assert!(failure.to_string().contains(step.as_str()), "{failure:#}");
        armed.store(false, Ordering::SeqCst);
        scene.repo.manual().advance(40 * DAY);
        scene.repo.start().await?;
        let task = scene.client().done(&task).await;
        let task = task.map_err(|error| error.context(format!("stopped {moment:?} {step:?}")))?;
        assert_eq!(task.counts.unwrap().added, 2, "{step:?}");
        scene.expect(&[("stuck/one", b"1"), ("stuck/two", b"2")]);
        until("fresh again", async || is_fresh(&scene).await).await?;
        scene.judge().await.map_err(|error| error.context(format!("stopped {moment:?} {step:?}")))?;
        scene.repo.stop().await?;
    }
    Ok(())
}
