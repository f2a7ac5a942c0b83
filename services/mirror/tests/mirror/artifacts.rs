//! Artifacts over real HTTP: by the three forms of URLs, and only while their bytes are right.

use rstuf_runtime::Clock;
use rstuf_tuf::{HashAlgorithm, Hashes, Layout, RoleName, Sha256, Target, Version};
use rstuf_updater::{Options, Updater};
use sha2::Digest;

use crate::{
    repository::{Repository, path, public, start},
    support::{Running, header},
};

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A repository with bins, and these targets in it.
fn with_bins(layout: &str, targets: &[(&str, &[u8])]) -> Repository {
    let layout: Layout = layout.parse().unwrap();
    let mut repository = Repository::new();
    let key = public(&repository.delegated_key);
    repository.change(RoleName::targets(), |it| it.delegations = layout.delegations(vec![key], 1).unwrap());
    for bin in layout.online_roles() {
        repository.change(bin, |_| {});
    }
    for (at, content) in targets {
        repository.add(layout.role_for(&path(at)), at, content);
    }
    repository.publish();
    repository
}

#[tokio::test]
async fn every_client_finds_artifacts_at_its_own_kind_of_url() {
    let mirror = Running::start().await;
    let layout: Layout = "prefix:16".parse().unwrap();
    let mut repository = with_bins(
        "prefix:16",
        &[("a/b c/tool+1.0.tgz", b"tool"), ("plain", b"plain"), ("a/ü", b"umlaut"), ("empty", b"")],
    );
    let sha512 = hex::encode(sha2::Sha512::digest(b"both"));
    let hashes = Hashes::sha256(Sha256::of(b"both"));
    let hashes = hashes.with(HashAlgorithm::Sha512, &sha2::Sha512::digest(b"both")).unwrap();
    repository.change(layout.role_for(&path("d/both")), |bin| {
        bin.targets.insert(path("d/both"), Target::new(4, hashes, None).unwrap());
    });
    repository.publish();
    mirror.publish(&repository);
    let [tool, plain, umlaut, _, both] =
        [&b"tool"[..], b"plain", b"umlaut", b"", b"both"].map(|content| mirror.store(content));

    let short = "public, max-age=5";
    let served = [
        (format!("a/b%20c/{tool}.tool+1.0.tgz"), "tool", FOR_EVER),
        (format!("{tool}.a/b%20c/tool+1.0.tgz"), "tool", FOR_EVER),
        (format!("{tool}.a/b%20c/tool%2B1.0.tgz"), "tool", FOR_EVER),
        ("a/b%20c/tool+1.0.tgz".to_owned(), "tool", short),
        (format!("{plain}.plain"), "plain", FOR_EVER),
        ("plain".to_owned(), "plain", short),
        (format!("a/{umlaut}.%C3%BC"), "umlaut", FOR_EVER),
        (format!("{umlaut}.a/%c3%bc"), "umlaut", FOR_EVER),
        ("a/%C3%BC".to_owned(), "umlaut", short),
        ("empty".to_owned(), "", short),
        (format!("d/{sha512}.both"), "both", FOR_EVER),
        (format!("{sha512}.d/both"), "both", FOR_EVER),
        (format!("d/{both}.both"), "both", FOR_EVER),
    ];
    for (at, content, caching) in &served {
        let answer = mirror.get(&format!("/targets/{at}")).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "cache-control")), (200, *caching), "{at}");
        assert_eq!(header(&answer, "etag"), format!("\"{}\"", Sha256::of(content.as_bytes())));
        assert_eq!(header(&answer, "content-type"), "application/octet-stream");
        assert_eq!(answer.text().await.unwrap(), *content);
    }
    let part = mirror
        .get_with(&format!("/targets/{plain}.plain"), &[("range", "bytes=1-2"), ("accept-encoding", "gzip")])
        .await;
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "la"));

    let refused = [
        format!("a/b%20c/{sha512}.tool+1.0.tgz"),
        format!("a/b%20c/{}.tool+1.0.tgz", "0".repeat(64)),
        format!("a%2Fb%20c/{tool}.tool+1.0.tgz"),
        format!("a/b%20c/{}.tool+1.0.tgz", tool.to_string().to_uppercase()),
        format!("{tool}"),
        format!("{tool}."),
        format!("../artifacts/{tool}"),
        format!("%2e%2e/artifacts/{tool}.x"),
        format!("{tool}.a/../a/b%20c/tool+1.0.tgz"),
        "a/b%20c/./tool+1.0.tgz".to_owned(),
        "a//b%20c/tool+1.0.tgz".to_owned(),
        "a%5cb%20c/tool+1.0.tgz".to_owned(),
        "plain%00".to_owned(),
        "plain/".to_owned(),
        "%70lain%ff".to_owned(),
        "pl%2561in".to_owned(),
        "other".to_owned(),
        String::new(),
    ];
    for at in refused {
        let answer = mirror.raw(&format!("/targets/{at}")).await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("cache-control: no-store"), "{at}: {answer}");
    }
    // Encoding what needs none is the same name.
    assert!(mirror.raw("/targets/%70lain").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_artifact_is_served_only_while_its_bytes_are_right() {
    // The system's clock: what is damaged a moment after it was served must be noticed, too.
    let mirror = Running::start_with(Clock::system(), |_| {}).await;
    let mut repository = with_bins("succinct:4", &[("file", b"first")]);
    mirror.publish(&repository);
    let first = mirror.store(b"first");
    let hashed = |digest: Sha256| format!("/targets/{digest}.file");
    assert_eq!(mirror.get(&hashed(first)).await.text().await.unwrap(), "first");

    // Damaged in place, truncated, replaced by a link to the right bytes elsewhere: each time 404, however it is asked
    // for.
    let elsewhere = mirror.directory.path().join("elsewhere");
    std::fs::write(&elsewhere, b"first").unwrap();
    let place = mirror.artifact(first);
    let damages: [&dyn Fn(); 4] = [
        &|| std::fs::write(&place, b"f1rst").unwrap(),
        &|| std::fs::write(&place, b"").unwrap(),
        &|| {
            std::fs::remove_file(&place).unwrap();
            std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        },
        &|| std::fs::remove_file(&place).unwrap(),
    ];
    for damage in damages {
        damage();
        for at in [hashed(first), "/targets/file".to_owned()] {
            let answer = mirror.get(&at).await;
            assert_eq!((answer.status().as_u16(), header(&answer, "cache-control")), (404, "no-store"), "{at}");
        }
    }
    let metrics = mirror.context.metrics.encode().unwrap();
    assert!(!metrics.contains(r#"rstuf_artifact_mismatches_total{service="mirror"} 0"#), "{metrics}");
    mirror.store(b"first");
    assert_eq!(mirror.get("/targets/file").await.status(), 200);

    // The next publication: the bare name means the new bytes at once, and the old ones stay for clients behind.
    let second = mirror.store(b"second");
    repository.add(path_role(), "file", b"second");
    repository.publish();
    mirror.publish(&repository);
    assert_eq!(mirror.get("/targets/file").await.text().await.unwrap(), "second");
    assert_eq!(mirror.get(&hashed(second)).await.text().await.unwrap(), "second");
    assert_eq!(mirror.get(&hashed(first)).await.text().await.unwrap(), "first");

    // Metadata that is no longer what it should be is an error of the server, not an absent artifact; digests need
    // none.
    mirror.put("timestamp.json", b"{\"signed\":");
    assert_eq!(mirror.get("/targets/file").await.status(), 500);
    assert_eq!(mirror.get(&hashed(second)).await.text().await.unwrap(), "second");
}

fn path_role() -> RoleName {
    "succinct:4".parse::<Layout>().unwrap().role_for(&path("file"))
}

#[tokio::test]
async fn a_client_updates_and_downloads_through_publications() {
    let mirror = Running::start().await;
    let mut repository = with_bins("succinct:16", &[("apps/tool 1.bin", b"1")]);
    mirror.publish(&repository);
    let role = "succinct:16".parse::<Layout>().unwrap().role_for(&path("apps/tool 1.bin"));
    let state = tempfile::tempdir().unwrap();
    let options = Options::new(mirror.url("/metadata"), mirror.url("/targets"), repository.first_root());
    let mut client = Updater::new(options.with_state_dir(state.path())).unwrap();
    for round in 1..=20_u32 {
        let content = vec![u8::try_from(round).unwrap(); 300_000];
        mirror.store(&content);
        repository.add(role.clone(), "apps/tool 1.bin", &content);
        repository.publish();
        mirror.publish(&repository);
        client.refresh(start()).await.unwrap();
        assert_eq!(client.download(&path("apps/tool 1.bin")).await.unwrap(), content);
        // Superseded files go away, and the walk never misses them.
        let superseded = Version::new(round).unwrap();
        std::fs::remove_file(mirror.metadata(&format!("{superseded}.snapshot.json"))).unwrap();
        assert_eq!(mirror.get("/targets/apps/tool%201.bin").await.bytes().await.unwrap(), content);
    }
}
