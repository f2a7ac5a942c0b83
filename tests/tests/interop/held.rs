//! What is held can be looked at, dropped and published; what is dropped never takes effect.

use rstuf_api::{
    Reason, Refusal,
    proto::{
        artifacts::v1::{self as proto, Change},
        tasks::v1::{self as tasks, ChangeKind, Outcome, Task, TaskState},
    },
    violations,
};
use rstuf_tests::{Client, client::removal};
use tonic::{Code, Status};

use crate::scene::Scene;

async fn hold(client: &Client, request_id: &str, changes: Vec<Change>) -> Result<Task, Status> {
    let request = proto::SubmitArtifactsRequest { request_id: request_id.to_owned(), changes, hold: true };
    Ok(client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap())
}

fn of(id: &str, page_size: u32, page_token: &str) -> tasks::ListTaskChangesRequest {
    tasks::ListTaskChangesRequest { id: id.to_owned(), page_size, page_token: page_token.to_owned() }
}

fn refusal(status: &Status) -> (Code, Option<Refusal>) {
    (status.code(), Reason::of(status).map(|reason| reason.name))
}

/// One of two held submissions is looked at and dropped, the other published; a restart between changes nothing of
/// that.
#[tokio::test(flavor = "multi_thread")]
async fn held_changes_are_listed_dropped_and_published() -> anyhow::Result<()> {
    let mut scene = Scene::start("prefix:4").await?;
    scene.add(&[("old", b"old")]).await?;
    let client = scene.client();
    let keep = vec![client.file("keep/1", b"1")?, client.file("keep/2", b"22")?, removal("old"), removal("nothing")];
    let keep = hold(&client, "keep 1", keep).await?;
    let dropped = hold(&client, "", vec![client.file("dropped", b"x")?, removal("old")]).await?;

    let by_request = client.tasks().get_task(tasks::GetTaskRequest::by_request_id("keep 1")).await?.into_inner();
    assert_eq!(by_request.task.unwrap().id, keep.id);
    let unknown = client.tasks().get_task(tasks::GetTaskRequest::by_request_id("keep 2")).await.unwrap_err();
    assert_eq!(refusal(&unknown), (Code::NotFound, Some(Refusal::NotFound)));

    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let page = client.tasks().list_task_changes(of(&keep.id, 3, &token)).await?.into_inner();
        listed.extend(page.changes.iter().map(|it| (it.path.clone(), it.kind(), it.length, it.sha256.len())));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let other = client.tasks().list_task_changes(of(&dropped.id, 3, &token)).await.unwrap_err();
        assert_eq!(violations(&other)[0].field, "page_token", "the token of another task");
    }
    let (add, remove) = (ChangeKind::Add, ChangeKind::Remove);
    let all = [("keep/1", add, 1, 32), ("keep/2", add, 2, 32), ("old", remove, 0, 0), ("nothing", remove, 0, 0)];
    assert_eq!(listed, all.map(|(path, kind, length, bytes)| (path.to_owned(), kind, length, bytes)));

    let cancelled = client.cancel(&dropped.id).await?;
    assert_eq!((cancelled.state(), cancelled.counts), (TaskState::Cancelled, None));
    assert_eq!(client.cancel(&dropped.id).await?, cancelled, "a retry is answered the same");
    assert_eq!(client.wait(&dropped.id).await?.state(), TaskState::Cancelled, "a watch ends");
    scene.repo.restart().await?;
    let client = scene.client();
    assert_eq!(client.cancel(&dropped.id).await?, cancelled, "also after a restart");
    assert_eq!(client.status().await?.submissions_held, 1);
    let gone = client.tasks().list_task_changes(of(&dropped.id, 0, "")).await.unwrap_err();
    assert_eq!(refusal(&gone), (Code::FailedPrecondition, Some(Refusal::TaskFinished)));

    let publish = client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
    let publish = client.done(&publish.into_inner().task.unwrap().id).await?;
    let counts = tasks::Counts { added: 2, removed: 1, not_found: 1, ..Default::default() };
    assert_eq!((publish.changes, publish.counts), (4, Some(counts)));
    let results = client.results(&publish.id).await?;
    let results: Vec<_> = results.iter().map(|it| (it.path.as_str(), it.outcome())).collect();
    let (added, removed) = (Outcome::Added, Outcome::Removed);
    assert_eq!(results, [("keep/1", added), ("keep/2", added), ("old", removed), ("nothing", Outcome::NotFound)]);
    assert_eq!(results.len(), client.results(&keep.id).await?.len());

    let late = client.cancel(&keep.id).await.unwrap_err();
    assert_eq!(refusal(&late), (Code::FailedPrecondition, Some(Refusal::TaskFinished)));
    let unknown = client.cancel("01890000-0000-7000-8000-000000000000").await.unwrap_err();
    assert_eq!(refusal(&unknown), (Code::NotFound, Some(Refusal::NotFound)));
    scene.expect(&[("keep/1", b"1"), ("keep/2", b"22")]);
    scene.expected.extend([("old".to_owned(), None), ("dropped".to_owned(), None)]);
    scene.judge().await?;
    scene.repo.stop().await
}

/// What was dropped makes room again, and takes nothing along that shares a path with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_leaves_nothing_behind() -> anyhow::Result<()> {
    let mut scene = Scene::start("flat").await?;
    let client = scene.client();
    let first = hold(&client, "id", vec![client.file("path", b"first")?]).await?;
    let second = hold(&client, "", vec![client.file("path", b"second")?, client.file("other", b"other")?]).await?;
    client.cancel(&second.id).await?;
    let again = hold(&client, "id", vec![client.file("path", b"first")?]).await?;
    assert_eq!(again.id, first.id);
    // Published at once, it takes along what is still held under its path.
    let last = client.add(&[("path", b"last")]).await?;
    assert_eq!(client.done(&first.id).await?.publication, last.publication);
    client.cancel(&hold(&client, "", vec![removal("path")]).await?.id).await?;
    let status = client.status().await?;
    assert_eq!((status.submissions_held, status.submissions_waiting), (0, 0));
    scene.expect(&[("path", b"last")]);
    scene.expected.insert("other".to_owned(), None);
    scene.judge().await?;
    scene.repo.stop().await
}
