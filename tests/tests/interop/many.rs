//! Ten thousand artifacts in one request.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use rstuf_api::proto::tasks::v1::{Progress, Step as Seen, Task, TaskState, WatchTaskRequest};
use rstuf_coordinator::effects::{Effect, Moment, StopAt};
use rstuf_tests::{Client, DEADLINE, TestRepo, client::addition, within};

use crate::scene::Scene;

/// Holds each step up until the watcher has seen it: who watches a fast machine may miss steps, and this is about those
/// that are there to be seen.
fn wait_for_watcher(seen: mpsc::Receiver<Seen>, armed: Arc<AtomicBool>) -> StopAt {
    let seen = Mutex::new(seen);
    Arc::new(move |effect, moment| {
        let wanted = match (effect, moment) {
            (Effect::WriteTargets, Moment::Before) => Seen::Targets,
            (Effect::SignSnapshot, Moment::Before) => Seen::Snapshot,
            (Effect::SignTimestamp, Moment::Before) => Seen::Timestamp,
            (Effect::ReplaceTimestamp, Moment::Before) => Seen::Publish,
            _ => return None,
        };
        if armed.load(Ordering::SeqCst) {
            let seen = seen.lock().unwrap();
            tokio::task::block_in_place(|| while seen.recv_timeout(DEADLINE).unwrap() != wanted {});
        }
        None
    })
}

async fn watch(client: &Client, id: &str, report: mpsc::Sender<Seen>) -> anyhow::Result<Vec<Task>> {
    let mut stream = client.tasks().watch_task(WatchTaskRequest { id: id.to_owned() }).await?.into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = stream.message().await? {
        seen.extend(answer.task);
        if let Some(progress) = seen.last().and_then(|task| task.progress.as_ref()) {
            report.send(progress.step())?;
        }
    }
    Ok(seen)
}

/// One request is one task and one publication, and who watches sees it go through its steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_in_one_request() -> anyhow::Result<()> {
    let (report, reported) = mpsc::channel();
    let armed = Arc::new(AtomicBool::new(false));
    let builder = TestRepo::builder().stop_at(wait_for_watcher(reported, armed.clone()));
    let mut scene = Scene::with("succinct:256", builder).await?;
    let client = scene.client();
    let before = client.status().await?.publication;
    armed.store(true, Ordering::SeqCst);
    let paths: Vec<String> = (0..10_000).map(|number| format!("many/{}/{number}.bin", number % 100)).collect();
    let id = client.submit(paths.iter().map(|path| addition(path, path.as_bytes())).collect()).await?;
    let seen = within("the task", watch(&client, &id, report)).await??;
    armed.store(false, Ordering::SeqCst);

    let task = seen.last().unwrap();
    assert_eq!((task.state(), task.changes, task.publication), (TaskState::Done, 10_000, before + 1));
    assert_eq!(task.counts.unwrap().added, 10_000);
    let progress: Vec<&Progress> = seen.iter().filter_map(|task| task.progress.as_ref()).collect();
    let order: Vec<_> = progress.iter().map(|it| (it.step, it.roles_done)).collect();
    assert!(order.is_sorted(), "{order:?}");
    let mut steps: Vec<Seen> = progress.iter().map(|it| it.step()).collect();
    steps.dedup();
    assert_eq!(steps, [Seen::Targets, Seen::Snapshot, Seen::Timestamp, Seen::Publish]);
    let targets = progress.iter().filter(|it| it.step() == Seen::Targets);
    assert!(targets.clone().all(|it| it.roles_total == 256), "{order:?}");
    assert!(targets.clone().any(|it| it.roles_done > 0), "progress within the longest step: {order:?}");
    let sent: Vec<_> = targets.map(|it| (it.roles_sent, it.roles_done)).collect();
    assert!(sent.is_sorted() && sent.iter().all(|(sent, done)| sent >= done), "{sent:?}");
    assert!(sent.contains(&(256, 0)), "while the signer has it all and says nothing: {sent:?}");

    assert_eq!(client.status().await?.publication, before + 1);
    assert_eq!(client.list("many/").await?.len(), 10_000);
    let results = client.results(&id).await?;
    assert!(results.iter().map(|result| &result.path).eq(&paths), "results in the order of the request");
    for path in paths.iter().step_by(1_000) {
        client.file(path, path.as_bytes())?;
        scene.expect(&[(path, path.as_bytes())]);
    }
    scene.judge().await?;
    scene.repo.stop().await
}
