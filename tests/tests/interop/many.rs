//! Ten thousand artifacts in one request.

use rstuf_api::proto::tasks::v1::{Step, TaskState};

use crate::scene::Scene;

/// One request is one task and one publication, and who watches sees it go through its steps.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_in_one_request() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:256").await?;
    let client = scene.client();
    let before = client.status().await?.publication;
    let paths: Vec<String> = (0..10_000).map(|number| format!("many/{}/{number}.bin", number % 100)).collect();
    let changes = paths.iter().map(|path| rstuf_tests::client::addition(path, path.as_bytes())).collect();
    let id = client.submit(changes).await?;
    let seen = client.watch(&id).await?;

    let task = seen.last().unwrap();
    assert_eq!((task.state(), task.changes, task.publication), (TaskState::Done, 10_000, before + 1));
    assert_eq!(task.counts.unwrap().added, 10_000);
    let steps: Vec<_> = seen.iter().filter_map(|task| task.progress.as_ref()).collect();
    let order: Vec<_> = steps.iter().map(|progress| (progress.step, progress.roles_done)).collect();
    assert!(order.is_sorted(), "{order:?}");
    let targets: Vec<_> = steps.iter().filter(|progress| progress.step() == Step::Targets).collect();
    assert!(targets.len() > 1, "progress within the longest step: {order:?}");
    assert!(targets.iter().all(|progress| progress.roles_total == 256 && progress.roles_done <= 256));
    assert!(steps.iter().any(|progress| progress.step() == Step::Snapshot), "{order:?}");
    assert!(steps.iter().any(|progress| progress.step() == Step::Timestamp), "{order:?}");

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
