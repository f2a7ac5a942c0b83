//! Journals that are lost, or come back from a copy, at any moment of a publication.

use std::{fs, process::Command};

use anyhow::Context as _;
use rstuf_coordinator::effects::{Effect, Moment};
use rstuf_tests::python;

use crate::{
    effects::{Scene, is_visible, moments},
    support::Request,
};

/// A submission's publication breaks at this moment, and the journal is lost as well. What was acknowledged may be lost
/// with it; what clients have seen may not, nor may a version be used twice.
async fn lost_journal(scene: &mut Scene, number: usize, effect: Effect, moment: Moment) -> anyhow::Result<()> {
    let client = scene.repo.client();
    let (path, content) = (format!("new/{number}"), format!("number {number}").into_bytes());
    let request = Request::submit(format!("submission-{number}"), vec![client.file(&path, &content)?]);
    scene.trap.arm(effect, moment);
    request.send(&client).await?;
    scene.stopped(effect).await?;
    if is_visible(effect, moment) {
        scene.expected.insert(path, Some(content));
    }
    scene.witness.sees(&scene.expected, None).await.context("while the coordinator is down")?;
    fs::remove_dir_all(scene.repo.data_dir().join("coordinator"))?;
    goes_on(scene, number).await.context("after the journal was rebuilt")
}

/// Started again, the coordinator publishes what it is given, and clients see that and all before it.
async fn goes_on(scene: &mut Scene, number: usize) -> anyhow::Result<()> {
    scene.repo.start().await?;
    let (path, client) = (format!("after/{number}"), scene.repo.client());
    let request = Request::submit(format!("after-{number}"), vec![client.file(&path, b"went on")?]);
    client.done(&request.acknowledged(&client).await?).await?;
    scene.expected.insert(path, Some(b"went on".to_vec()));
    scene.witness.sees(&scene.expected, None).await
}

#[tokio::test]
async fn a_journal_lost_at_any_moment_is_rebuilt_from_what_is_published() -> anyhow::Result<()> {
    for layout in ["succinct:4", "flat"] {
        let mut scene = Scene::new(layout).await?;
        for ((effect, moment), number) in moments().zip(1..) {
            let lost = lost_journal(&mut scene, number, effect, moment).await;
            lost.with_context(|| format!("{layout}, {moment:?} {}", effect.as_str()))?;
        }
        scene.repo.stop().await?;
    }
    Ok(())
}

/// As [`lost_journal`], but the journal comes back from a copy that was made when the coordinator stopped; two
/// publications followed on it.
async fn old_journal(scene: &mut Scene, number: usize, effect: Effect, moment: Moment) -> anyhow::Result<()> {
    let client = scene.repo.client();
    let changes = vec![client.file(&format!("new/{number}"), b"new")?];
    let request = Request::submit(format!("submission-{number}"), changes);
    scene.trap.arm(effect, moment);
    request.send(&client).await?;
    scene.stopped(effect).await?;
    let (journal, copy) = (scene.repo.data_dir().join("coordinator"), scene.repo.data_dir().join("copy"));
    python::run(Command::new("cp").arg("-a").arg(&journal).arg(&copy))?;
    scene.repo.start().await?;
    let client = scene.repo.client();
    client.done(&request.acknowledged(&client).await?).await?;
    let two = [format!("new/{number}/one"), format!("new/{number}/two")];
    for path in &two {
        client.add(&[(path, b"new")]).await?;
    }
    let seen = two.into_iter().chain([format!("new/{number}")]);
    scene.expected.extend(seen.map(|path| (path, Some(b"new".to_vec()))));
    scene.witness.sees(&scene.expected, None).await.context("before the copy came back")?;
    scene.repo.stop().await?;
    fs::remove_dir_all(&journal)?;
    fs::rename(&copy, &journal)?;
    goes_on(scene, number).await.context("after the copy came back")
}

#[tokio::test]
async fn a_journal_copied_at_any_moment_is_rolled_forward() -> anyhow::Result<()> {
    for layout in ["succinct:2", "flat"] {
        let mut scene = Scene::new(layout).await?;
        for ((effect, moment), number) in moments().zip(1..) {
            let old = old_journal(&mut scene, number, effect, moment).await;
            old.with_context(|| format!("{layout}, {moment:?} {}", effect.as_str()))?;
        }
        scene.repo.stop().await?;
    }
    Ok(())
}
