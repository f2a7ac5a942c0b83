//! Artifacts come, change and go, in every layout.

use rstuf_api::proto::{
    artifacts::v1::{self as proto, HashAlgorithm, change::Kind},
    tasks::v1::{Outcome, TaskKind, TaskState},
};
use rstuf_tests::client::{addition, removal};
use sha2::Digest as _;

use crate::scene::Scene;

/// What a repository goes through, judged after each publication by clients that keep their state.
async fn life(layout: &str) -> anyhow::Result<()> {
    let mut scene = Scene::start(layout).await?;
    let first = scene.client().status().await?.publication;
    scene.expected.insert("a/one".into(), None);
    scene.judge().await?;

    let added = scene.add(&[("a/one", b"1"), ("two.tar.gz", b"two"), ("empty", b"")]).await?;
    assert_eq!(scene.outcomes(&added).await?, [Outcome::Added; 3]);
    assert_eq!((added.publication, added.counts.unwrap().added), (first + 1, 3));
    scene.judge().await?;

    let mixed = scene.add(&[("a/one", b"another one"), ("two.tar.gz", b"two"), ("three", b"3")]).await?;
    assert_eq!(scene.outcomes(&mixed).await?, [Outcome::Replaced, Outcome::Unchanged, Outcome::Added]);
    assert_eq!(mixed.publication, first + 2);
    scene.judge().await?;

    let files = scene.metadata_files()?;
    let same = scene.add(&[("three", b"3"), ("empty", b"")]).await?;
    assert_eq!(scene.outcomes(&same).await?, [Outcome::Unchanged; 2]);
    let absent = scene.remove(&["never/was"]).await?;
    assert_eq!(scene.outcomes(&absent).await?, [Outcome::NotFound]);
    assert_eq!((same.publication, absent.publication), (0, 0));
    assert_eq!(scene.client().status().await?.publication, first + 2, "what changes nothing is not published");
    assert_eq!(scene.metadata_files()?, files);
    scene.judge().await?;

    let removed = scene.remove(&["two.tar.gz", "never/was", "a/one"]).await?;
    assert_eq!(scene.outcomes(&removed).await?, [Outcome::Removed, Outcome::NotFound, Outcome::Removed]);
    scene.judge().await?;

    // Of what a path may hold, the most awkward; and one that was removed comes back.
    let awkward = ["ünïcode/文件 é.txt", "a b/+%25&?#;=~'\"[x]{y}*.txt", "UPPER", "upper", "1.root.json", "timestamp"];
    for path in awkward {
        scene.add(&[(path, path.as_bytes())]).await?;
    }
    scene.add(&[("a/one", b"back")]).await?;
    scene.repo.restart().await?;
    scene.judge().await?;
    let listed: Vec<String> = scene.client().list("").await?.into_iter().map(|artifact| artifact.path).collect();
    let expected: Vec<_> = scene.expected.iter().filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path).collect();
    assert_eq!(listed.iter().collect::<Vec<_>>(), expected);
    assert_eq!(scene.client().status().await?.publication, first + 10);
    if layout != "flat" {
        scene.judges_kept_roles()?;
    }
    scene.repo.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn flat() -> anyhow::Result<()> {
    life("flat").await
}

#[tokio::test(flavor = "multi_thread")]
async fn prefix_bins() -> anyhow::Result<()> {
    life("prefix:16").await
}

/// Fewer bins than a hexadecimal digit tells apart, so that a bin has several prefixes.
#[tokio::test(flavor = "multi_thread")]
async fn few_prefix_bins() -> anyhow::Result<()> {
    life("prefix:4").await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_succinct_bins() -> anyhow::Result<()> {
    life("succinct:2").await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_succinct_bins() -> anyhow::Result<()> {
    life("succinct:256").await
}

/// Held changes stay back until a publish, or until a submission to the same path takes them along, in order.
#[tokio::test(flavor = "multi_thread")]
async fn held_until_published() -> anyhow::Result<()> {
    let mut scene = Scene::start("prefix:4").await?;
    let client = scene.client();
    let hold = async |path: &str, bytes: &[u8]| {
        let changes = vec![client.file(path, bytes)?];
        let request = proto::SubmitArtifactsRequest { changes, hold: true, ..Default::default() };
        let task = client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap();
        assert_eq!(task.state(), TaskState::Held);
        anyhow::Ok(task.id)
    };
    let one = hold("held/one", b"1").await?;
    let two = hold("held/two", b"2").await?;
    scene.add(&[("other", b"o")]).await?;
    scene.expected.extend([("held/one".into(), None), ("held/two".into(), None)]);
    assert_eq!(client.status().await?.submissions_held, 2);
    scene.judge().await?;

    // The newer submission to the same path takes the held one along, and wins.
    let newer = scene.add(&[("held/one", b"newer")]).await?;
    let taken = client.done(&one).await?;
    assert_eq!(taken.publication, newer.publication);
    assert_eq!(scene.outcomes(&newer).await?, [Outcome::Replaced]);
    scene.judge().await?;

    scene.repo.restart().await?;
    let client = scene.client();
    assert_eq!(client.status().await?.submissions_held, 1, "it is held over a restart");
    let publish = client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
    let publish = publish.into_inner().task.unwrap();
    assert_eq!(publish.kind(), TaskKind::Publish);
    let published = client.done(&publish.id).await?;
    assert_eq!(client.done(&two).await?.publication, published.publication);
    assert!(published.publication > newer.publication);
    scene.expect(&[("held/two", b"2")]);
    scene.judge().await?;
    scene.repo.stop().await
}

/// An import is many messages, one task, one publication; one that breaks off leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn imported_in_one_go() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:16").await?;
    let client = scene.client();
    let part = |changes| proto::ImportArtifactsRequest { changes, ..Default::default() };
    let mut parts = Vec::new();
    for number in 0..5 {
        let files: Vec<_> = (0..200).map(|file| format!("import/{number}/{file}")).collect();
        let changes = files.iter().map(|path| client.file(path, path.as_bytes())).collect::<Result<_, _>>()?;
        parts.push(part(changes));
        scene.expected.extend(files.into_iter().map(|path| (path.clone(), Some(path.into_bytes()))));
    }
    // Over the whole import the last change of a path counts.
    parts.push(part(vec![removal("import/0/0"), client.file("import/1/0", b"last")?]));
    scene.expected.insert("import/0/0".into(), None);
    scene.expect(&[("import/1/0", b"last")]);

    // One that breaks off in the middle: the caller goes away.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let broken = client.clone();
    let call = tokio::spawn(async move {
        broken.artifacts().import_artifacts(tokio_stream::wrappers::ReceiverStream::new(receiver)).await
    });
    sender.send(part(vec![addition("broken/off", b"x")])).await?;
    sender.send(part(vec![addition("broken/off/too", b"x")])).await?;
    call.abort();
    let _ = call.await;
    // And one that a refused change ends.
    let refused = [part(vec![addition("fine", b"x")]), part(vec![addition("../not", b"x")])];
    let status = client.artifacts().import_artifacts(tokio_stream::iter(refused)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);

    let before = client.status().await?.publication;
    let task = client.artifacts().import_artifacts(tokio_stream::iter(parts)).await?.into_inner().task.unwrap();
    assert_eq!((task.kind(), task.changes), (TaskKind::Import, 1_002));
    let task = client.done(&task.id).await?;
    assert_eq!(task.publication, before + 1);
    assert_eq!(client.results(&task.id).await?.len(), 1_002);
    scene.expected.extend(["broken/off", "broken/off/too", "fine"].map(|path| (path.to_owned(), None)));
    let some = |(path, _): &(&String, &Option<Vec<u8>>)| !path.starts_with("import/") || path.ends_with("/0");
    let sample = scene.expected.iter().filter(some).map(|(path, bytes)| (path.clone(), bytes.clone())).collect();
    scene.expected = sample;
    scene.judge().await?;
    assert_eq!(client.list("import/").await?.len(), 999);
    assert_eq!(client.status().await?.publication, before + 1);
    scene.repo.stop().await
}

/// What a caller says of an artifact is what clients and readers find: all hashes, and the custom object.
#[tokio::test(flavor = "multi_thread")]
async fn described_as_submitted() -> anyhow::Result<()> {
    let mut scene = Scene::start("flat").await?;
    let client = scene.client();
    let bytes = b"with more than one hash";
    let mut change = client.file("app/full", bytes)?;
    let Some(Kind::Add(artifact)) = &mut change.kind else { panic!("an addition") };
    let digest = sha2::Sha512::digest(bytes).to_vec().into();
    artifact.hashes.push(proto::Hash { algorithm: HashAlgorithm::Sha512.into(), digest });
    artifact.custom_json = r#"{"b":[1,null,"\u00e9"],"a":{"x":true}}"#.to_owned();
    let submitted = artifact.clone();
    client.done(&client.submit(vec![change]).await?).await?;
    scene.expect(&[("app/full", bytes)]);
    scene.judge().await?;
    let found = client.get("app/full").await?;
    assert_eq!((found.role.as_str(), found.role_version), ("targets", 2));
    let found = found.artifact.unwrap();
    assert_eq!((found.length, &found.hashes), (submitted.length, &submitted.hashes));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    assert_eq!(json(&found.custom_json)?, json(&submitted.custom_json)?);
    let missing = client.get("app/none").await.unwrap_err();
    assert_eq!(missing.downcast_ref::<tonic::Status>().unwrap().code(), tonic::Code::NotFound);
    scene.repo.stop().await
}
