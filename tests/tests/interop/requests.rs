//! Request ids, pages and lists.

use rstuf_api::proto::{
    artifacts::v1 as proto,
    tasks::v1::{ListTaskResultsRequest, ListTasksRequest, Task, TaskState},
};
use rstuf_tests::{
    Client, TestRepo,
    client::{addition, removal},
};
use tonic::Code;

use crate::scene::Scene;

async fn submit(client: &Client, id: &str, changes: Vec<proto::Change>, hold: bool) -> Result<Task, tonic::Status> {
    let request = proto::SubmitArtifactsRequest { request_id: id.to_owned(), changes, hold };
    Ok(client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap())
}

/// The same request again is the same task, at once, later and after a restart; with another body it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn sent_again() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:4").await?;
    let client = scene.client();
    let body = || vec![addition("sent/again", b"1")];
    let (first, second) = tokio::join!(submit(&client, "id-1", body(), false), submit(&client, "id-1", body(), false));
    let task = first?;
    assert_eq!(task.id, second?.id, "both at once");
    assert_eq!(task.request_id, "id-1");
    client.done(&task.id).await?;
    let publication = client.status().await?.publication;
    assert_eq!(submit(&client, "id-1", body(), false).await?.id, task.id);
    // Removed meanwhile: sending the old request again must not bring it back.
    client.remove(&["sent/again"]).await?;
    scene.repo.restart().await?;
    let client = scene.client();
    let again = submit(&client, "id-1", body(), false).await?;
    assert_eq!((again.id.as_str(), again.state(), again.publication), (task.id.as_str(), TaskState::Done, publication));
    let others = [vec![addition("sent/again", b"2")], vec![removal("sent/again")], [body(), body()].concat()];
    for (changes, code) in others.into_iter().zip([Code::AlreadyExists, Code::AlreadyExists, Code::InvalidArgument]) {
        assert_eq!(submit(&client, "id-1", changes, false).await.unwrap_err().code(), code);
    }
    assert_eq!(submit(&client, "id-1", body(), true).await.unwrap_err().code(), Code::AlreadyExists);
    let publish = proto::PublishArtifactsRequest { request_id: "id-1".to_owned() };
    assert_eq!(client.artifacts().publish_artifacts(publish).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(client.status().await?.publication, publication + 1);
    scene.expected.insert("sent/again".into(), None);
    scene.judge().await?;
    scene.repo.stop().await
}

/// Every list is complete, in order, and without doubles, whatever the size of its pages.
#[tokio::test(flavor = "multi_thread")]
async fn lists_in_pages() -> anyhow::Result<()> {
    let mut scene = Scene::start("prefix:16").await?;
    let client = scene.client();
    let mut paths: Vec<String> = (0..60).map(|number| format!("pages/{number}")).collect();
    let changes = paths.iter().map(|path| addition(path, b"x")).collect();
    let first = client.done(&client.submit(changes).await?).await?;
    paths.sort();
    for size in [1, 7, 59, 60, 61, 1_000, 0] {
        let pages = client.list_pages("pages/", size).await?;
        let bound = if size == 0 { 100 } else { size as usize };
        assert!(pages.iter().all(|page| page.len() <= bound), "pages of {size}");
        assert!(pages.iter().flatten().map(|artifact| &artifact.path).eq(&paths), "pages of {size}");
    }
    assert_eq!(client.list("pages/5").await?.len(), 11);
    assert!(client.list("nothing/").await?.is_empty());
    // The prefix is text, not a pattern, and need not end at a segment.
    assert_eq!(client.list("pages/1").await?.len(), 11);
    assert!(client.list("pages/*").await?.is_empty());

    let mut tasks = vec![first.id.clone()];
    for number in 0..5 {
        tasks.push(client.add(&[(&format!("task/{number}"), b"t")]).await?.id);
    }
    tasks.push(submit(&client, "", vec![addition("held", b"h")], true).await?.id);
    tasks.reverse();
    scene.repo.restart().await?;
    let client = scene.client();
    for page_size in [1, 3, 100] {
        let mut request = ListTasksRequest { page_size, ..Default::default() };
        let mut listed = Vec::new();
        loop {
            let page = client.tasks().list_tasks(request.clone()).await?.into_inner();
            listed.extend(page.tasks);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        // The last of all is the ceremony.
        assert_eq!(listed.len(), tasks.len() + 1);
        assert!(listed.iter().map(|task| &task.id).zip(&tasks).all(|(one, other)| one == other), "newest first");
    }
    let held = ListTasksRequest { state: TaskState::Held.into(), page_size: 1, ..Default::default() };
    let held = client.tasks().list_tasks(held).await?.into_inner();
    assert_eq!(held.tasks.iter().map(|task| &task.id).collect::<Vec<_>>(), [&tasks[0]]);
    let mut request = ListTaskResultsRequest { id: first.id, page_size: 25, ..Default::default() };
    let mut sizes = Vec::new();
    loop {
        let page = client.tasks().list_task_results(request.clone()).await?.into_inner();
        sizes.push(page.results.len());
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(sizes, [25, 25, 10]);
    scene.repo.stop().await
}

/// A second process on the same directories is refused, says why, and harms nothing.
#[tokio::test(flavor = "multi_thread")]
async fn one_process_per_directory() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:2").await?;
    scene.add(&[("one", b"1")]).await?;
    let second = TestRepo::builder().layout("succinct:2").dir(scene.repo.data_dir()).start().await;
    let refusal = format!("{:#}", second.err().expect("two on one directory"));
    assert!(refusal.contains("in use"), "{refusal}");
    scene.add(&[("two", b"2")]).await?;
    scene.judge().await?;
    scene.repo.stop().await
}
