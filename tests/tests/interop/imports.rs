//! Imports that go on after a broken connection and after a restart of the coordinator.

use std::time::Duration;

use rstuf_api::{
    Reason, Refusal, digest, limits,
    proto::{
        artifacts::v1::{self as proto, Change, get_import_request::Key},
        tasks::v1::TaskState,
    },
    violations,
};
use rstuf_tests::{
    Client, TestRepo,
    client::{addition, removal},
};
use tonic::{Code, Status};

use crate::scene::Scene;

async fn delete(client: &Client, id: &str) -> Result<(), Status> {
    client.artifacts().delete_import(proto::DeleteImportRequest { id: id.to_owned() }).await.map(|_| ())
}

fn refusal(status: &Status) -> (Code, Option<Refusal>) {
    (status.code(), Reason::of(status).map(|reason| reason.name))
}

/// Appended by three calls with a restart after each, with retries: published as one, removals and the last change of a
/// path included, exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn goes_on_after_a_restart() -> anyhow::Result<()> {
    let mut scene = Scene::start("prefix:16").await?;
    scene.add(&[("old", b"old"), ("kept", b"kept")]).await?;
    let client = scene.client();
    let import = client.create_import("big import", false).await?;
    let name = |number: u64| format!("import/{number}");
    let parts: Vec<Vec<Change>> = vec![
        (0..10).map(|number| client.file(&name(number), b"first")).collect::<Result<_, _>>()?,
        vec![removal("old"), client.file(&name(3), b"second")?],
        vec![client.file(&name(4), b"third")?, removal(&name(5))],
    ];
    let (mut offset, mut digest) = (0, digest::OF_NOTHING);
    for part in &parts {
        let client = scene.client();
        let same = client.create_import("big import", false).await?;
        assert_eq!((same.next_offset, &same.digest[..]), (offset, &digest.as_bytes()[..]), "the same one");
        let appended = client.append_import(&import.id, offset, part).await?;
        assert_eq!(appended.next_offset, offset + part.len() as u64);
        digest = part.iter().fold(digest, digest::followed_by_change);
        assert_eq!(&appended.digest[..], digest.as_bytes(), "that of the changes as they were sent");
        let again = client.append_import(&import.id, offset, part).await?;
        assert_eq!(again, appended, "a retry is answered the same");
        let other = client.append_import(&import.id, offset, &part[1..]).await.unwrap_err();
        assert_eq!(refusal(&other), (Code::FailedPrecondition, Some(Refusal::OffsetMismatch)));
        let next = Reason::of(&other).unwrap().metadata["next_offset"].clone();
        assert_eq!(next, appended.next_offset.to_string());
        offset = appended.next_offset;
        scene.repo.restart().await?;
    }
    let client = scene.client();
    let found = client.get_import(Key::RequestId("big import".into())).await?;
    assert_eq!((found.next_offset, &found.digest[..]), (offset, &digest.as_bytes()[..]));
    assert_eq!(client.get_import(Key::Id(import.id.clone())).await?.request_id, "big import");
    let before = client.status().await?.publication;
    assert_eq!(client.commit_import(&import.id).await?, import.id, "its task has its id");
    assert_eq!(client.commit_import(&import.id).await?, import.id);
    let task = client.done(&import.id).await?;
    assert_eq!((task.changes, task.publication, task.request_id.as_str()), (offset, before + 1, "big import"));
    scene.repo.restart().await?;
    let client = scene.client();
    assert_eq!(client.commit_import(&import.id).await?, import.id, "also after a restart");
    let used = client.create_import("big import", false).await.unwrap_err();
    assert_eq!(refusal(&used), (Code::AlreadyExists, Some(Refusal::RequestIdUsed)));
    let used = Reason::of(&used).unwrap().metadata;
    let digest = digest.to_string();
    for (key, value) in [("task", &*import.id), ("kind", "import"), ("hold", "false"), ("digest", &digest)] {
        assert_eq!(used[key], value, "what it was used for can be told from anything else");
    }
    let late = [
        client.append_import(&import.id, offset, &parts[0]).await.map(|_| ()),
        client.get_import(Key::Id(import.id.clone())).await.map(|_| ()),
        client.get_import(Key::RequestId("big import".into())).await.map(|_| ()),
        delete(&client, &import.id).await,
    ];
    for late in late.map(Result::unwrap_err) {
        assert_eq!(refusal(&late), (Code::FailedPrecondition, Some(Refusal::ImportCommitted)));
        assert_eq!(Reason::of(&late).unwrap().metadata["task"], import.id);
    }
    assert_eq!(client.status().await?.publication, before + 1, "once");
    for number in 0..10 {
        let bytes: &[u8] = match number {
            3 => b"second",
            4 => b"third",
            _ => b"first",
        };
        scene.expected.insert(name(number), (number != 5).then(|| bytes.to_vec()));
    }
    scene.expected.insert("old".to_owned(), None);
    scene.judge().await?;
    scene.repo.stop().await
}

/// Nothing of what is not committed takes effect: deleted, empty, refused, or left alone for a day.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_committed_takes_effect() -> anyhow::Result<()> {
    let start = "2027-01-01T00:00:00Z".parse()?;
    let mut scene = Scene::with("flat", TestRepo::builder().manual_clock(start)).await?;
    scene.add(&[("one", b"1")]).await?;
    let client = scene.client();
    let status = client.status().await?;
    let change = [addition("import", b"x")];

    let deleted = client.create_import("", false).await?;
    client.append_import(&deleted.id, 0, &change).await?;
    delete(&client, &deleted.id).await?;
    for gone in [delete(&client, &deleted.id).await, client.commit_import(&deleted.id).await.map(|_| ())] {
        assert_eq!(refusal(&gone.unwrap_err()), (Code::NotFound, Some(Refusal::NotFound)));
    }

    let empty = client.create_import("", false).await?;
    let refused = client.commit_import(&empty.id).await.unwrap_err();
    assert_eq!((refused.code(), violations(&refused)[0].field.as_str()), (Code::InvalidArgument, "changes"));
    let bad = client.append_import(&empty.id, 0, &[addition("fine", b"x"), addition("../up", b"x")]).await.unwrap_err();
    assert_eq!(violations(&bad)[0].field, "changes[1].add.path");
    let many: Vec<_> = (0..=limits::CHANGES_PER_SUBMISSION_MAX).map(|number| removal(&number.to_string())).collect();
    for changes in [&[][..], &many] {
        let refused = client.append_import(&empty.id, 0, changes).await.unwrap_err();
        assert_eq!(violations(&refused)[0].field, "changes");
    }
    assert_eq!(client.get_import(Key::Id(empty.id.clone())).await?.next_offset, 0, "whole or not at all");
    assert_eq!(client.get_import(Key::Id("x".into())).await.unwrap_err().code(), Code::InvalidArgument);

    let idle = client.create_import("idle", false).await?;
    client.append_import(&idle.id, 0, &change).await?;
    scene.repo.manual().advance(Duration::from_secs(23 * 3_600));
    let touched = client.append_import(&idle.id, 1, &change).await?;
    assert!(touched.expires_at.unwrap().seconds > idle.expires_at.unwrap().seconds);
    scene.repo.manual().advance(Duration::from_secs(24 * 3_600));
    let changes = vec![removal("nothing")];
    let request = proto::SubmitArtifactsRequest { request_id: "no import".to_owned(), changes, hold: false };
    let submitted = client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap();
    client.done(&submitted.id).await?;
    let other = client.get_import(Key::RequestId("no import".into())).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound, "the request id of a submission names no import");
    for gone in
        [client.get_import(Key::Id(idle.id.clone())).await, client.get_import(Key::RequestId("idle".into())).await]
    {
        assert_eq!(refusal(&gone.unwrap_err()), (Code::NotFound, Some(Refusal::NotFound)));
    }
    assert_ne!(client.create_import("idle", false).await?.id, idle.id, "another one");

    scene.repo.restart().await?;
    let after = scene.client().status().await?;
    assert_eq!((after.submissions_waiting, after.submissions_held), (0, 0));
    assert_eq!(status.submissions_waiting, 0);
    scene.expected.insert("import".to_owned(), None);
    scene.judge().await?;
    scene.repo.stop().await
}

/// What is held takes effect when it is published, and is cancelled like everything that is held. So many are open at a
/// time.
#[tokio::test(flavor = "multi_thread")]
async fn held_and_bounded() -> anyhow::Result<()> {
    let mut scene = Scene::start("flat").await?;
    let client = scene.client();
    let held = client.create_import("", true).await?;
    client.append_import(&held.id, 0, &[client.file("held", b"held")?]).await?;
    client.commit_import(&held.id).await?;
    assert_eq!(client.status().await?.submissions_held, 1);
    let mut open = Vec::new();
    let full = loop {
        match client.create_import("", false).await {
            Ok(import) => open.push(import.id),
            Err(status) => break status,
        }
        assert!(open.len() < 1_000, "no bound");
    };
    assert_eq!(refusal(&full), (Code::ResourceExhausted, Some(Refusal::QueueFull)));
    delete(&client, &open[0]).await?;
    let last = client.create_import("", true).await?;
    client.append_import(&last.id, 0, &[addition("dropped", b"x")]).await?;
    client.commit_import(&last.id).await?;
    client.cancel(&last.id).await?;
    assert_eq!(client.wait(&last.id).await?.state(), TaskState::Cancelled);
    let publish = client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
    let publish = client.done(&publish.into_inner().task.unwrap().id).await?;
    assert_eq!((publish.changes, client.done(&held.id).await?.publication), (1, publish.publication));
    scene.expect(&[("held", b"held")]);
    scene.expected.insert("dropped".to_owned(), None);
    scene.judge().await?;
    scene.repo.stop().await
}

/// Who opens imports and brings nothing keeps others out for minutes, not for a day; who brought something keeps his
/// place.
#[tokio::test(flavor = "multi_thread")]
async fn empty_ones_lapse_soon() -> anyhow::Result<()> {
    let start = "2027-01-01T00:00:00Z".parse()?;
    let mut scene = Scene::with("flat", TestRepo::builder().manual_clock(start)).await?;
    let client = scene.client();
    let begun = client.create_import("begun", false).await?;
    client.append_import(&begun.id, 0, &[client.file("begun", b"begun")?]).await?;
    let empty = client.create_import("empty", false).await?;
    while client.create_import("", false).await.is_ok() {}
    let minute = Duration::from_secs(60);
    scene.repo.manual().advance(9 * minute);
    assert_eq!(client.create_import("empty", false).await?, empty, "still open");
    let full = client.create_import("late", false).await.unwrap_err();
    assert_eq!(refusal(&full), (Code::ResourceExhausted, Some(Refusal::QueueFull)));
    scene.repo.manual().advance(minute);
    for key in [Key::Id(empty.id.clone()), Key::RequestId("empty".into())] {
        assert_eq!(client.get_import(key).await.unwrap_err().code(), Code::NotFound);
    }
    let change = [addition("never", b"x")];
    assert_eq!(client.append_import(&empty.id, 0, &change).await.unwrap_err().code(), Code::NotFound);
    assert_ne!(client.create_import("empty", false).await?.id, empty.id, "another one");
    scene.repo.restart().await?;
    let client = scene.client();
    assert_eq!(client.get_import(Key::RequestId("begun".into())).await?.next_offset, 1);
    client.done(&client.commit_import(&begun.id).await?).await?;
    scene.expect(&[("begun", b"begun")]);
    scene.expected.insert("never".to_owned(), None);
    scene.judge().await?;
    scene.repo.stop().await
}

/// While an import is open, nothing else takes its request id, so that it can be committed; who wants it is told of the
/// import.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_import_keeps_its_request_id() -> anyhow::Result<()> {
    let mut scene = Scene::start("flat").await?;
    let client = scene.client();
    let changes = vec![client.file("path", b"content")?];
    let import = client.create_import("mine", false).await?;
    client.append_import(&import.id, 0, &changes).await?;
    scene.repo.restart().await?;
    let client = scene.client();
    let request_id = || "mine".to_owned();
    let submission = proto::SubmitArtifactsRequest { request_id: request_id(), changes: changes.clone(), hold: false };
    let stream = proto::ImportArtifactsRequest { request_id: request_id(), changes, hold: false };
    let refused = [
        client.artifacts().submit_artifacts(submission.clone()).await.map(drop),
        client.artifacts().import_artifacts(tokio_stream::iter([stream])).await.map(drop),
        client
            .artifacts()
            .publish_artifacts(proto::PublishArtifactsRequest { request_id: request_id() })
            .await
            .map(drop),
        client.create_import("mine", true).await.map(drop),
    ];
    for refused in refused.map(Result::unwrap_err) {
        assert_eq!(refusal(&refused), (Code::AlreadyExists, Some(Refusal::ImportOpen)), "{refused:?}");
        assert_eq!(Reason::of(&refused).unwrap().metadata["import"], import.id);
    }
    assert_eq!(client.commit_import(&import.id).await?, import.id);
    let again = client.artifacts().submit_artifacts(submission).await?.into_inner().task.unwrap();
    assert_eq!(again.id, import.id, "the same changes under its id are the same request");
    client.done(&import.id).await?;
    let free = client.create_import("free again", false).await?;
    delete(&client, &free.id).await?;
    let submission = proto::SubmitArtifactsRequest {
        request_id: "free again".to_owned(),
        changes: vec![client.file("other", b"other")?],
        hold: false,
    };
    client.done(&client.artifacts().submit_artifacts(submission).await?.into_inner().task.unwrap().id).await?;
    scene.expect(&[("path", b"content"), ("other", b"other")]);
    scene.judge().await?;
    scene.repo.stop().await
}

/// Of two who share an import, each commits what is theirs, or nothing: never a part of the other's with it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_commits_what_another_appended() -> anyhow::Result<()> {
    let mut scene = Scene::start("flat").await?;
    let client = scene.client();
    let change = |name: &str| client.file(name, name.as_bytes());
    let import = client.create_import("shared", false).await?;
    let own = client.append_import(&import.id, 0, &[change("first")?, change("second")?]).await?;
    assert_eq!(client.create_import("shared", false).await?, own, "the other goes on with it");
    let both = client.append_import(&import.id, own.next_offset, &[change("theirs")?]).await?;
    let commit = async |offset| {
        let request = proto::CommitImportRequest { id: import.id.clone(), offset };
        let task = client.artifacts().commit_import(request).await?.into_inner().task;
        Ok::<_, Status>(task.unwrap().id)
    };
    for other in [own.next_offset, both.next_offset + 1] {
        let refused = commit(other).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::FailedPrecondition, Some(Refusal::OffsetMismatch)));
        assert_eq!(Reason::of(&refused).unwrap().metadata["next_offset"], both.next_offset.to_string());
    }
    assert_eq!(client.get_import(Key::Id(import.id.clone())).await?, both, "it stays open");
    assert_eq!(commit(both.next_offset).await?, import.id);
    client.done(&import.id).await?;
    scene.repo.restart().await?;
    let client = scene.client();
    let commit = async |offset| {
        let request = proto::CommitImportRequest { id: import.id.clone(), offset };
        client.artifacts().commit_import(request).await.map(drop)
    };
    commit(both.next_offset).await?;
    let refused = commit(own.next_offset).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, Some(Refusal::ImportCommitted)));
    assert_eq!(Reason::of(&refused).unwrap().metadata["task"], import.id);
    scene.expect(&[("first", b"first"), ("second", b"second"), ("theirs", b"theirs")]);
    scene.judge().await?;
    scene.repo.stop().await
}
