//! What is refused: before anything changes, naming the field and what is allowed.

use rstuf_api::{
    limits,
    proto::{
        artifacts::v1::{self as proto, Artifact, Change, HashAlgorithm, change::Kind},
        repository::v1 as repository,
        tasks::v1::{self as tasks, TaskState},
    },
    violations,
};
use rstuf_tests::{
    TestRepo,
    client::{addition, removal},
};
use tonic::Code;

use crate::scene::Scene;

/// Changes one thing about an acceptable artifact.
fn artifact(alter: impl FnOnce(&mut Artifact)) -> Change {
    let mut change = addition("fine", b"fine");
    if let Some(Kind::Add(artifact)) = &mut change.kind {
        alter(artifact);
    }
    change
}

fn hash(algorithm: HashAlgorithm, bytes: usize) -> proto::Hash {
    proto::Hash { algorithm: algorithm.into(), digest: vec![0xab; bytes].into() }
}

/// Every entry: the field that must be named, and a change that must be refused for it.
fn corpus() -> Vec<(&'static str, Change)> {
    let long = "x".repeat(1_025);
    let paths = [
        "",
        "/",
        "/absolute",
        "trailing/",
        "double//slash",
        ".",
        "..",
        "../up",
        "a/../b",
        "a/./b",
        "a/..",
        "C:\\windows",
        "back\\slash",
        "nul\0",
        "line\nfeed",
        "carriage\r\nreturn: injected",
        "tab\t",
        "\u{7f}",
        "\u{85}",
        "a/%2e%2e/b",
        "%2E",
        "a%2fb",
        "a%5Cb",
        "a%00",
        "e\u{301}",
        "\u{212b}ngstrom",
        &long,
    ];
    let mut corpus: Vec<_> = paths.iter().map(|path| ("add.path", addition(path, b"x"))).collect();
    corpus.extend(paths.iter().map(|path| ("remove_path", removal(path))));
    corpus.push(("kind", Change { kind: None }));
    for bytes in [0, 31, 33, 64] {
        corpus.push(("add.hashes", artifact(|it| it.hashes = vec![hash(HashAlgorithm::Sha256, bytes)])));
    }
    for bytes in [0, 32, 63, 65] {
        corpus.push(("add.hashes", artifact(|it| it.hashes.push(hash(HashAlgorithm::Sha512, bytes)))));
    }
    // Hexadecimal text instead of the raw digest.
    corpus.push(("add.hashes", artifact(|it| it.hashes[0].digest = "ab".repeat(32).into())));
    corpus.push(("add.hashes", artifact(|it| it.hashes.clear())));
    corpus.push(("add.hashes", artifact(|it| it.hashes.push(hash(HashAlgorithm::Sha256, 32)))));
    corpus.push(("add.hashes", artifact(|it| it.hashes = vec![hash(HashAlgorithm::Sha512, 64)])));
    corpus.push(("add.hashes", artifact(|it| it.hashes.push(hash(HashAlgorithm::Unspecified, 32)))));
    corpus.push(("add.hashes", artifact(|it| it.hashes[0].algorithm = 99)));
    corpus.push(("add.length", artifact(|it| it.length = 1 << 53)));
    corpus.push(("add.length", artifact(|it| it.length = u64::MAX)));
    let nested = format!("{}1{}", "{\"a\":".repeat(33), "}".repeat(33));
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(16 * 1024));
    for custom in
        ["{", "[]", "1", "null", "{}", "{\"a\":1,\"a\":2}", "{\"a\":1.5}", "{\"a\":1e3}", "{} {}", &nested, &huge]
    {
        corpus.push(("add.custom_json", artifact(|it| it.custom_json = custom.to_owned())));
    }
    corpus
}

/// One refused change refuses its whole submission, and the answer names it; nothing of it is ever seen.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_bad_submission_is_taken() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:4").await?;
    let client = scene.client();
    scene.add(&[("kept", b"kept")]).await?;
    let (status, files) = (client.status().await?, scene.metadata_files()?);
    for (field, change) in corpus() {
        let submission = vec![addition("good/neighbour", b"x"), change.clone()];
        let request = proto::SubmitArtifactsRequest { changes: submission, ..Default::default() };
        let what = format!("{change:?}").chars().take(200).collect::<String>();
        let refusal = client.artifacts().submit_artifacts(request).await;
        let refusal = refusal.err().unwrap_or_else(|| panic!("taken, for {field}: {what}"));
        assert_eq!(refusal.code(), Code::InvalidArgument, "{what}: {refusal}");
        let violations = violations(&refusal);
        assert_eq!(violations.len(), 1, "{what}: {violations:?}");
        assert_eq!(violations[0].field, format!("changes[1].{field}"), "{what}: {violations:?}");
        assert!(violations[0].description.len() < 350, "{violations:?}");
        // What a caller wrote never breaks out of the line that reports it.
        let shown = [refusal.message(), &violations[0].description];
        assert!(shown.iter().all(|text| !text.chars().any(char::is_control)), "{shown:?}");
    }
    // Every mistake is named at once, up to a bound.
    let all: Vec<Change> = corpus().into_iter().map(|(_, change)| change).collect();
    let request = proto::SubmitArtifactsRequest { changes: all, ..Default::default() };
    assert!(violations(&client.artifacts().submit_artifacts(request).await.unwrap_err()).len() >= 10);

    let after = client.status().await?;
    assert_eq!((after.publication, after.submissions_waiting), (status.publication, 0));
    assert_eq!(scene.metadata_files()?, files);
    let listed = client.tasks().list_tasks(tasks::ListTasksRequest::default()).await?.into_inner().tasks;
    assert_eq!(listed.len(), 2, "the ceremony and the one that was taken");
    scene.expected.insert("good/neighbour".into(), None);
    scene.judge().await?;
    scene.repo.stop().await
}

/// What is not even a message is refused as well, and the connection lives on.
#[tokio::test(flavor = "multi_thread")]
async fn broken_frames() -> anyhow::Result<()> {
    #[derive(Clone, prost::Message)]
    struct RawSubmission {
        #[prost(message, repeated, tag = "2")]
        changes: Vec<RawChange>,
    }
    #[derive(Clone, prost::Message)]
    struct RawChange {
        #[prost(bytes, tag = "2")]
        remove_path: Vec<u8>,
    }
    let mut scene = Scene::start("flat").await?;
    let channel = rstuf_runtime::connect(scene.repo.coordinator_url())?;
    let send = async |remove_path: &[u8], encoding: Option<&'static str>| {
        let mut raw = tonic::client::Grpc::new(channel.clone());
        raw.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let changes = vec![RawChange { remove_path: remove_path.to_vec() }];
        let mut request = tonic::Request::new(RawSubmission { changes });
        if let Some(encoding) = encoding {
            request.metadata_mut().insert("grpc-encoding", encoding.parse().unwrap());
        }
        let method = "/rstuf.artifacts.v1.ArtifactService/SubmitArtifacts";
        let codec = tonic_prost::ProstCodec::<RawSubmission, proto::SubmitArtifactsResponse>::default();
        raw.unary(request, method.parse().unwrap(), codec).await
    };
    for path in [&b"\xff"[..], b"over\xc0\xaflong", b"\xed\xa0\x80surrogate", b"cut\xe2\x82"] {
        assert_eq!(send(path, None).await.unwrap_err().code(), Code::InvalidArgument);
    }
    // No compression, so no message that is small on the wire and huge in memory.
    assert_eq!(send(b"fine", Some("gzip")).await.unwrap_err().code(), Code::Unimplemented);
    let listed = scene.client().tasks().list_tasks(tasks::ListTasksRequest::default()).await?.into_inner().tasks;
    assert_eq!(listed.len(), 1, "only the ceremony");
    send(b"fine", None).await?;
    scene.repo.stop().await
}

/// A method takes no larger messages than it has use for, though another one of its service does.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_takes_only_what_it_needs() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:2").await?;
    let channel = rstuf_runtime::connect(scene.repo.coordinator_url())?;
    let send = async |method: &str, bytes: usize| {
        let mut raw = tonic::client::Grpc::new(channel.clone());
        raw.ready().await.map_err(|error| tonic::Status::unknown(error.to_string()))?;
        let codec =
            tonic_prost::ProstCodec::<repository::HoldCeremonyRequest, repository::HoldCeremonyResponse>::default();
        let request = repository::HoldCeremonyRequest { root: vec![0; bytes].into(), ..Default::default() };
        let path = format!("/rstuf.repository.v1.RepositoryService/{method}").parse().unwrap();
        raw.unary(tonic::Request::new(request), path, codec).await.map(|_| ())
    };
    let large = limits::SMALL_MESSAGE_BYTES_MAX + 1;
    for method in ["GetStatus", "DescribeRepository", "ListSigners", "GetRoot"] {
        let status = send(method, large).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{method}: {status}");
    }
    assert_eq!(send("HoldCeremony", large).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(send("HoldCeremony", limits::DOCUMENT_MESSAGE_BYTES_MAX).await.unwrap_err().code(), Code::OutOfRange);
    scene.repo.stop().await
}

/// Each bound holds, and the last thing within it works.
#[tokio::test(flavor = "multi_thread")]
async fn bounds() -> anyhow::Result<()> {
    let mut scene = Scene::start("prefix:4").await?;
    let client = scene.client();
    let submit = async |changes: Vec<Change>, request_id: &str| {
        let request = proto::SubmitArtifactsRequest { changes, request_id: request_id.to_owned(), hold: false };
        client.artifacts().submit_artifacts(request).await.map(|answer| answer.into_inner().task.unwrap())
    };
    let field = |status: &tonic::Status| violations(status).first().map(|violation| violation.field.clone());

    let longest = "x".repeat(1_024);
    let custom = format!("{{\"a\":\"{}\"}}", "x".repeat(16 * 1024 - 8));
    let at_bound = artifact(|it| {
        it.path = format!("{}/{}", "d".repeat(500), "f".repeat(523));
        it.length = (1 << 53) - 1;
        it.custom_json = custom;
    });
    let deep = vec!["d"; 512].join("/");
    let fine = vec![at_bound, client.file(&longest, b"long")?, client.file(&deep, b"deep")?];
    client.done(&submit(fine, &"i".repeat(128)).await?.id).await?;
    scene.expect(&[(&deep, b"deep")]);

    let too_many = (0..=limits::CHANGES_PER_SUBMISSION_MAX).map(|number| removal(&number.to_string())).collect();
    for changes in [Vec::new(), too_many] {
        let status = submit(changes, "").await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_deref()), (Code::InvalidArgument, Some("changes")));
    }
    let status = submit(vec![addition("twice", b"1"), removal("twice")], "").await.unwrap_err();
    assert_eq!((status.code(), field(&status).as_deref()), (Code::InvalidArgument, Some("changes[1].path")));
    for id in ["i".repeat(129), " space at an end".into(), "new\nline".into(), "ümlaut".into()] {
        let status = submit(vec![addition("x", b"1")], &id).await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_deref()), (Code::InvalidArgument, Some("request_id")));
        assert!(!status.message().contains('\n'));
    }
    let huge = artifact(|it| it.custom_json = "x".repeat(limits::REQUEST_BYTES_MAX));
    assert_eq!(submit(vec![huge], "").await.unwrap_err().code(), Code::OutOfRange);

    let list = proto::ListArtifactsRequest { page_size: 1_001, ..Default::default() };
    client.artifacts().list_artifacts(list).await?;
    let list = proto::ListArtifactsRequest { page_token: "\n".into(), ..Default::default() };
    assert_eq!(client.artifacts().list_artifacts(list).await.unwrap_err().code(), Code::InvalidArgument);
    let list = tasks::ListTasksRequest { page_token: "x".into(), ..Default::default() };
    assert_eq!(client.tasks().list_tasks(list).await.unwrap_err().code(), Code::InvalidArgument);
    for state in [TaskState::SetAside as i32 + 1, -1, i32::MAX] {
        let list = tasks::ListTasksRequest { state, ..Default::default() };
        let refused = client.tasks().list_tasks(list).await.unwrap_err();
        assert_eq!(field(&refused).as_deref(), Some("state"), "{refused}");
        assert!(refused.message().contains(&state.to_string()), "{refused}");
    }
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (id, code) in [("", Code::InvalidArgument), ("../1", Code::InvalidArgument), (unknown, Code::NotFound)] {
        let get = client.tasks().get_task(tasks::GetTaskRequest::by_id(id)).await;
        assert_eq!(get.unwrap_err().code(), code, "{id}");
        let watch = client.tasks().watch_task(tasks::WatchTaskRequest { id: id.into() }).await;
        assert_eq!(watch.unwrap_err().code(), code, "{id}");
        let results = tasks::ListTaskResultsRequest { id: id.into(), ..Default::default() };
        assert_eq!(client.tasks().list_task_results(results).await.unwrap_err().code(), code, "{id}");
    }
    let get = client.get("../x").await.unwrap_err();
    assert_eq!(get.downcast_ref::<tonic::Status>().unwrap().code(), Code::InvalidArgument);
    scene.judge().await?;
    scene.repo.stop().await
}

/// The targets signer keeps to its own limit: who asks for more fails, and others are published.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_removes_too_much_fails_alone() -> anyhow::Result<()> {
    let mut scene = Scene::with("flat", TestRepo::builder().removals_per_publication_max("2")).await?;
    let files: Vec<_> = (0..4).map(|number| format!("a/{number}")).collect();
    let added: Vec<_> = files.iter().map(|path| (path.as_str(), path.as_bytes())).collect();
    scene.add(&added).await?;
    let client = scene.client();
    let greedy = client.submit(files.iter().take(3).map(|path| removal(path)).collect()).await?;
    scene.remove(&["a/3"]).await?;
    let task = client.wait(&greedy).await?;
    let error = task.error.clone().unwrap();
    assert_eq!((task.state(), error.reason.as_str()), (TaskState::Failed, "TOO_MANY_REMOVALS"));
    assert!(error.message.contains("removals_per_publication_max"), "{}", error.message);
    scene.judge().await
}

/// A submission that no document can hold fails alone: those that were batched with it are published.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_submission_among_good_ones() -> anyhow::Result<()> {
    let mut scene = Scene::with("succinct:2", TestRepo::builder().document_bytes_max(8 * 1024)).await?;
    let client = scene.client();
    let mut held = Vec::new();
    // Held, then published at once: one batch.
    for (name, files) in [("first", 3), ("bad", 200), ("second", 3), ("worse", 300)] {
        let paths = (0..files).map(|number| format!("{name}/{number}"));
        let changes = paths.map(|path| client.file(&path, path.as_bytes())).collect::<Result<_, _>>()?;
        let request = proto::SubmitArtifactsRequest { changes, hold: true, ..Default::default() };
        held.push(client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap().id);
    }
    let publish = client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
    let published = client.done(&publish.into_inner().task.unwrap().id).await?;
    for (id, good) in held.iter().zip([true, false, true, false]) {
        let task = client.wait(id).await?;
        if good {
            assert_eq!((task.state(), task.publication), (TaskState::Done, published.publication));
            continue;
        }
        let error = task.error.unwrap();
        assert_eq!((task.state, error.reason.as_str()), (TaskState::Failed as i32, "DOCUMENT_TOO_LARGE"));
        assert!(error.message.contains("8192"), "says the bound: {}", error.message);
    }
    for (name, good) in [("first", true), ("bad", false), ("second", true), ("worse", false)] {
        let path = format!("{name}/1");
        scene.expected.insert(path.clone(), good.then(|| path.into_bytes()));
    }
    scene.judge().await?;
    // Alone it fails too, and blocks nobody.
    let paths: Vec<String> = (0..200).map(|number| format!("alone/{number}")).collect();
    let bad = client.submit(paths.iter().map(|path| addition(path, b"x")).collect()).await?;
    assert_eq!(client.wait(&bad).await?.state(), TaskState::Failed);
    scene.add(&[("after", b"after")]).await?;
    scene.judge().await?;
    scene.repo.stop().await
}

/// The same ceremony again is answered with the same task; one that says anything else of the same root is told what.
#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_is_held_once() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:4").await?;
    let mut client = scene.client().repository();
    let described = client.describe_repository(repository::DescribeRepositoryRequest {}).await?.into_inner();
    let read = |name: &str| std::fs::read(scene.repo.metadata_dir().join(name));
    let held = repository::HoldCeremonyRequest {
        root: read("1.root.json")?.into(),
        targets: read("1.targets.json")?.into(),
        layout: described.layout,
        lifetimes: described.lifetimes,
    };
    client.hold_ceremony(held.clone()).await?;
    let (mut lifetimes, mut targets) = (held.clone(), held.clone());
    lifetimes.lifetimes.as_mut().and_then(|it| it.timestamp.as_mut()).unwrap().seconds += 60;
    targets.targets = Vec::new().into();
    let layout = repository::HoldCeremonyRequest { layout: Some(rstuf_tuf::Layout::Flat.into()), ..held };
    for (request, field) in [(lifetimes, "lifetimes"), (targets, "targets"), (layout, "layout")] {
        let refused = client.hold_ceremony(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused:?}");
        assert!(refused.message().contains(&format!("another `{field}`")), "{refused:?}");
    }
    drop(client);
    scene.repo.stop().await
}
