//! Those who watch tasks.

use rstuf_api::{
    Reason, Refusal,
    proto::{
        artifacts::v1 as proto,
        tasks::v1::{Task, WatchTaskRequest, WatchTaskResponse},
    },
};
use rstuf_tests::{Client, client::addition, within};
use tonic::{Code, Status, Streaming};

use crate::scene::Scene;

/// As many as a server takes on one connection.
const PER_CONNECTION: usize = 100;
/// More than enough connections.
const CONNECTIONS_MAX: usize = 100;

async fn watch(client: &Client, id: &str) -> Result<Streaming<WatchTaskResponse>, Status> {
    Ok(client.tasks().watch_task(WatchTaskRequest { id: id.to_owned() }).await?.into_inner())
}

async fn hold(client: &Client) -> anyhow::Result<Task> {
    let changes = vec![addition("held", b"held")];
    let request = proto::SubmitArtifactsRequest { changes, hold: true, ..Default::default() };
    Ok(client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap())
}

/// There is a bound on watchers, and none is shut out by others who watch what never ends: the first of those is told
/// to watch again.
#[tokio::test(flavor = "multi_thread")]
async fn who_watches_longest_gives_way() -> anyhow::Result<()> {
    let mut scene = Scene::start("flat").await?;
    let held = hold(&scene.client()).await?.id;
    let mut first = watch(&scene.client(), &held).await?;
    assert_eq!(first.message().await?.unwrap().task.unwrap().id, held);
    let last_word = tokio::spawn(async move { first.message().await });
    let mut unread = Vec::new();
    while !last_word.is_finished() {
        assert!(unread.len() < PER_CONNECTION * CONNECTIONS_MAX, "no bound");
        let client = scene.client();
        for _ in 0..PER_CONNECTION {
            unread.push(watch(&client, &held).await?);
        }
    }
    let refused = last_word.await?.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(Reason::of(&refused).map(|reason| reason.name), Some(Refusal::QueueFull));
    scene.add(&[("watched", b"watched")]).await?;
    scene.judge().await?;
    drop(unread);
    within("the stop", scene.repo.stop()).await?
}
