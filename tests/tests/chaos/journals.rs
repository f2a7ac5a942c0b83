//! Journals that are lost, or come back from a copy, at any moment of a publication.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use rstuf_api::proto::tasks::v1::{GetTaskRequest, get_task_request::Key};
use rstuf_coordinator::effects::{Effect, Moment};
use rstuf_tests::{TestRepo, processes, python, until};
use tonic::Code;

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

/// A file of finished tasks that is gone stops the coordinator from starting, until an operator says, by the real
/// command, that it is to go on without them. Nothing else is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_of_finished_tasks_is_forgotten_by_an_operator_alone() -> anyhow::Result<()> {
    let start = "2031-02-27T12:34:56Z".parse()?;
    let mut repo = TestRepo::builder().layout("succinct:4").manual_clock(start).start().await?;
    let (mut tasks, sealed) = (Vec::new(), repo.data_dir().join("coordinator/sealed"));
    let files = || anyhow::Ok(fs::read_dir(&sealed).into_iter().flatten().collect::<Result<Vec<_>, _>>()?);
    for day in 1..=2 {
        let client = repo.client();
        tasks.push(client.add(&[(&format!("on day {day}"), b"done")]).await?.id);
        repo.manual().advance(Duration::from_secs(24 * 3_600));
        until("what finished that day has moved", async || Ok(files()?.len() == day)).await?;
    }
    repo.stop().await?;
    let mut days: Vec<_> = files()?.into_iter().map(|file| file.path()).collect();
    days.sort();
    fs::remove_file(&days[0])?;
    let refused = repo.start().await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains(&days[0].display().to_string()) && refused.contains("forget-damaged"), "{refused:?}");

    let (binaries, dir) = (processes::binaries().await?, repo.data_dir());
    let forget = || {
        let mut command = Command::new(binaries.join("rstuf-coordinator"));
        command.arg("forget-damaged").arg("--state-dir").arg(dir.join("coordinator"));
        command.arg("--published-dir").arg(dir.join("published")).output()
    };
    // What stands in its place is somebody's: it is told, once, and left alone.
    fs::create_dir(&days[0])?;
    let other = forget()?;
    let said = String::from_utf8_lossy(&other.stderr);
    let once = |part: &str| said.matches(part).count() == 1;
    ensure!(other.status.code() == Some(1) && once("no file") && once(&days[0].display().to_string()), "{said}");
    fs::remove_dir(&days[0])?;
    let done = forget()?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.success() && said.contains("tasks that ended on 2031-02-27"), "{done:?}");

    repo.start().await?;
    let client = repo.client();
    let task = async |id: &String| client.tasks().get_task(GetTaskRequest { key: Some(Key::Id(id.clone())) }).await;
    let forgotten = task(&tasks[0]).await.err().map(|status| status.code());
    ensure!(forgotten == Some(Code::NotFound), "{forgotten:?}");
    ensure!(task(&tasks[1]).await?.into_inner().task.is_some_and(|task| task.finished_at.is_some()));
    ensure!(client.get("on day 1").await.is_ok(), "what is published stays");
    client.add(&[("after", b"it went on")]).await?;
    repo.stop().await
}
