//! The client against a repository, honest or not, over real HTTP.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

#[path = "support/repository.rs"]
mod repository;
#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use axum::http::StatusCode;
use jiff::ToSpan;
use rstuf_tuf::{
    DelegatedRole, Delegations, Layout, MetaEntry, PathPattern, Paths, RoleName, Sha256, Timestamp, TopLevel, Version,
    keys_by_id,
};
use rstuf_updater::{Error, Options, Updater};

use repository::{Repository, key, path, public, role_keys, start, target};
use server::{Reply, Server};

fn options(url: &str, root: Vec<u8>) -> Options {
    Options::new(format!("{url}/metadata/"), format!("{url}/targets"), root)
}

fn refused(result: Result<(), Error>) -> rstuf_tuf::Error {
    match result {
        Err(Error::Refused { source, .. }) => source,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Whether an error is the one that an attack should end in.
type Expected = fn(&Error) -> bool;

fn bin_of(layout: &str, at: &str) -> RoleName {
    layout.parse::<Layout>().unwrap().role_for(&path(at))
}

#[tokio::test]
async fn a_client_follows_a_repository_across_runs_and_notices_a_rollback() {
    const AT: &str = "app/1.0/program file.bin";
    let mut repository = Repository::new();
    let layout: Layout = "succinct:16".parse().unwrap();
    let delegated = public(&repository.delegated_key);
    repository.change(RoleName::targets(), |it| it.delegations = layout.delegations(vec![delegated], 1).unwrap());
    for bin in layout.online_roles() {
        repository.change(bin, |_| {});
    }
    repository.add(bin_of("succinct:16", AT), AT, b"one");
    repository.publish();
    let (server, url) = Server::start().await;
    server.publish(&repository.files);
    let digest = Sha256::of(b"one");
    server.put(&format!("/targets/app/1.0/{digest}.program%20file.bin"), Reply::Bytes(b"one".to_vec()));

    let state = tempfile::tempdir().unwrap();
    let client = || {
        Updater::new(options(&url, repository::Repository::new().first_root()).with_state_dir(state.path())).unwrap()
    };
    let mut first = client();
    assert!(matches!(first.target(&path(AT)).await, Err(Error::NotRefreshed)));
    first.refresh(start()).await.unwrap();
    assert_eq!(first.target(&path(AT)).await.unwrap(), Some(target(b"one")));
    assert_eq!(first.target(&path("app/other")).await.unwrap(), None);
    assert_eq!(first.download(&path(AT)).await.unwrap(), b"one");
    assert!(matches!(first.download(&path("app/other")).await, Err(Error::NotFound { .. })));
    let file = state.path().join("program");
    first.download_to(&path(AT), &file).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"one");

    // Another run asks only whether there is something new: the rest is remembered.
    server.asked();
    let mut second = client();
    second.refresh(start()).await.unwrap();
    assert_eq!(second.target(&path(AT)).await.unwrap(), Some(target(b"one")));
    assert_eq!(server.asked(), ["/metadata/2.root.json", "/metadata/timestamp.json"]);

    let old = repository.files.clone();
    repository.add(bin_of("succinct:16", AT), AT, b"two");
    repository.publish();
    server.publish(&repository.files);
    second.refresh(start()).await.unwrap();
    assert_eq!(second.target(&path(AT)).await.unwrap(), Some(target(b"two")));

    // The old repository again: refused by whoever saw the new one, in this run or a later one, and then nothing is
    // used.
    server.publish(&old);
    for client in [&mut second, &mut client()] {
        assert!(matches!(refused(client.refresh(start()).await), rstuf_tuf::Error::Rollback { .. }));
        assert!(matches!(client.target(&path(AT)).await, Err(Error::NotRefreshed)));
    }
    // Still so when what was remembered has expired.
    let later = start() + 48.hours();
    repository.now = later;
    repository.publish();
    server.publish(&old);
    assert!(matches!(refused(client().refresh(later).await), rstuf_tuf::Error::Rollback { .. }));
    server.publish(&repository.files);
    client().refresh(later).await.unwrap();
}

#[tokio::test]
async fn roots_are_followed_one_by_one_and_revoke_stolen_keys() {
    let mut repository = Repository::new();
    let first_root = repository.first_root();
    let (server, url) = Server::start().await;
    let state = tempfile::tempdir().unwrap();
    let client = || Updater::new(options(&url, first_root.clone()).with_state_dir(state.path())).unwrap();
    let mut honest = client();

    // A thief of the timestamp and snapshot keys raises the versions far, and the client believes it.
    repository.publish();
    repository.version = 1_000;
    repository.publish();
    server.publish(&repository.files);
    honest.refresh(start()).await.unwrap();

    // Root 2 is not signed by root 1's key: refused.
    let mut forged = repository.files.clone();
    let [old, new] = [key(1), key(11)];
    let mut root = repository.root.clone();
    root.version = Version::new(2).unwrap();
    root.keys.extend(keys_by_id([public(&new)]));
    root.roles.root = role_keys(&new);
    forged.insert("2.root.json".to_owned(), repository::sign(&root, &[&new]));
    server.publish(&forged);
    assert!(matches!(refused(honest.refresh(start()).await), rstuf_tuf::Error::Threshold { .. }));

    // The real one replaces the stolen keys, and the versions begin anew.
    let mut restored = Repository::new();
    (restored.timestamp_key, restored.snapshot_key, restored.root_key) = (key(14), key(13), new.clone());
    restored.change_root(&[&old, &new], |root| {
        root.keys = keys_by_id([key(11), key(2), key(13), key(14)].iter().map(public));
        root.roles.root = role_keys(&key(11));
        root.roles.snapshot = role_keys(&key(13));
        root.roles.timestamp = role_keys(&key(14));
    });
    restored.change_root(&[&new], |_| {});
    restored.publish();
    server.publish(&restored.files);
    honest.refresh(start()).await.unwrap();
    assert_eq!(honest.trusted().unwrap().root().version.get(), 3);
    assert_eq!(honest.trusted().unwrap().timestamp().unwrap().version.get(), 1);

    // A later run knows the roots without asking again, and at most so many are followed at once.
    server.asked();
    client().refresh(start()).await.unwrap();
    assert_eq!(server.asked(), ["/metadata/4.root.json", "/metadata/timestamp.json"]);
    let mut limited = options(&url, first_root.clone());
    limited.limits.root_rotations = 1;
    let mut limited = Updater::new(limited).unwrap();
    limited.refresh(start()).await.unwrap();
    assert_eq!(limited.trusted().unwrap().root().version.get(), 2);

    // A root beyond its expiry ends everything.
    assert!(matches!(refused(client().refresh(start() + (366 * 24).hours()).await), rstuf_tuf::Error::Expired { .. }));
}

/// The thief of one online key raises the versions far. As soon as root replaces either key, timestamp and snapshot are
/// both forgotten, though the other key still verifies one of them; and that once, not at every run (5.3.11).
#[tokio::test]
async fn versions_begin_anew_when_root_replaces_one_online_key() {
    for replaced in [TopLevel::Snapshot, TopLevel::Timestamp] {
        let mut repository = Repository::new();
        let first_root = repository.first_root();
        let (server, url) = Server::start().await;
        let state = tempfile::tempdir().unwrap();
        let client = || Updater::new(options(&url, first_root.clone()).with_state_dir(state.path())).unwrap();
        repository.version = 1_000_000;
        repository.publish();
        server.publish(&repository.files);
        client().refresh(start()).await.unwrap();

        let mut restored = Repository::new();
        restored.publish();
        server.publish(&restored.files);
        assert!(matches!(refused(client().refresh(start()).await), rstuf_tuf::Error::Rollback { .. }));

        let fresh = key(19);
        restored.change_root(&[&key(1)], |root| {
            root.keys.extend(keys_by_id([public(&fresh)]));
            match replaced {
                TopLevel::Snapshot => root.roles.snapshot = role_keys(&fresh),
                _ => root.roles.timestamp = role_keys(&fresh),
            }
        });
        match replaced {
            TopLevel::Snapshot => restored.snapshot_key = fresh,
            _ => restored.timestamp_key = fresh,
        }
        restored.publish();
        server.publish(&restored.files);
        client().refresh(start()).await.unwrap();
        let older = restored.files.clone();
        restored.publish();
        server.publish(&restored.files);
        client().refresh(start()).await.unwrap();
        server.publish(&older);
        assert!(matches!(refused(client().refresh(start()).await), rstuf_tuf::Error::Rollback { .. }), "{replaced}");
    }
}

/// What an earlier run kept is what forbids an older repository. One of whose bits another one came is no reason to go
/// on without; to whom roles' keys changed since, see the tests above.
#[tokio::test]
async fn what_was_kept_and_is_damaged_is_told_from_what_is_old() {
    let mut repository = Repository::new();
    let first_root = repository.first_root();
    repository.change_root(&[&key(1)], |_| {});
    repository.publish();
    let (server, url) = Server::start().await;
    server.publish(&repository.files);
    let state = tempfile::tempdir().unwrap();
    let client = || Updater::new(options(&url, first_root.clone()).with_state_dir(state.path())).unwrap();
    client().refresh(start()).await.unwrap();
    let kept = state.path().join(Sha256::of(&first_root).to_string());
    for name in ["timestamp.json", "snapshot.json", "2.root.json"] {
        let file = kept.join(name);
        let whole = std::fs::read(&file).unwrap();
        let mut flipped = whole.clone();
        let at = whole.windows(7).position(|bytes| bytes == b"expires").unwrap();
        flipped[at + 10] ^= 1;
        for damaged in [&flipped, &whole[..whole.len() / 2], b""] {
            std::fs::write(&file, damaged).unwrap();
            let error = client().refresh(start()).await.unwrap_err();
            assert!(matches!(&error, Error::Damaged { path, .. } if *path == file), "{name}: {error}");
        }
        std::fs::remove_file(&file).unwrap();
        client().refresh(start()).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), whole, "begun anew");
    }
    repository.publish();
    server.publish(&repository.files);
    client().refresh(start()).await.unwrap();
}

#[tokio::test]
async fn delegations_are_walked_in_order_until_one_terminates() {
    let role = |name: &str, pattern: &str, terminating| DelegatedRole {
        name: RoleName::delegated(name).unwrap(),
        keys: role_keys(&key(5)),
        terminating,
        paths: Paths::Patterns(vec![PathPattern::try_from(pattern).unwrap()]),
        unknown: Default::default(),
    };
    let list = |roles| Some(Delegations::list(keys_by_id([public(&key(5))]), roles).unwrap());
    let name = |text: &str| RoleName::delegated(text).unwrap();

    let mut repository = Repository::new();
    repository.change(RoleName::targets(), |it| {
        it.delegations = list(vec![
            role("first", "a/*", false),
            role("second", "a/*", false),
            role("closed", "b/*", true),
            role("third", "b/*", false),
        ]);
    });
    repository.change(name("first"), |it| {
        it.delegations = list(vec![role("nested", "a/*", false), role("first-b", "b/*", false)])
    });
    repository.add(name("nested"), "a/both", b"nested");
    repository.add(name("second"), "a/both", b"second");
    repository.add(name("second"), "a/late", b"second");
    repository.add(name("third"), "b/hidden", b"third");
    repository.add(name("third"), "a/outside", b"not trusted with a/");
    repository.change(name("closed"), |_| {});
    repository.publish();
    let (server, url) = Server::start().await;
    server.publish(&repository.files);

    let mut client = Updater::new(options(&url, repository.first_root())).unwrap();
    client.refresh(start()).await.unwrap();
    let found = [("a/both", Some("nested")), ("a/late", Some("second")), ("b/hidden", None), ("a/outside", None)];
    for (at, content) in found {
        let wanted = content.map(|content| target(content.as_bytes()));
        assert_eq!(client.target(&path(at)).await.unwrap(), wanted, "{at}");
    }
    // Only roles that are trusted with the path were asked.
    assert!(!server.asked().iter().any(|asked| asked.contains("third") || asked.contains("first-b")));

    // Within the limit of delegations there is one role less, and the target is beyond it.
    let mut limited = options(&url, repository.first_root());
    limited.limits.delegations = 2;
    let mut limited = Updater::new(limited).unwrap();
    limited.refresh(start()).await.unwrap();
    assert_eq!(limited.target(&path("a/late")).await.unwrap(), None);

    // A role signed by a key that was not delegated to is refused, and one that is missing is said to be.
    repository.delegated_key = key(6);
    repository.add(name("second"), "a/late", b"changed");
    repository.publish();
    server.publish(&repository.files);
    client.refresh(start()).await.unwrap();
    assert_eq!(client.target(&path("a/both")).await.unwrap(), Some(target(b"nested")));
    let result = client.target(&path("a/late")).await.map(|_| ());
    assert!(matches!(refused(result), rstuf_tuf::Error::Threshold { .. }));
    let second = repository.roles[&name("second")].version;
    server.remove(&format!("/metadata/{second}.second.json"));
    assert!(
        matches!(client.target(&path("a/late")).await, Err(Error::Absent { url }) if url.ends_with(".second.json"))
    );
}

#[tokio::test]
async fn whatever_a_server_sends_is_bounded_and_checked() {
    let mut repository = Repository::new();
    repository.add(RoleName::targets(), "dir/file", b"content");
    repository.publish();
    let (server, url) = Server::start().await;
    let mut impatient = options(&url, repository.first_root());
    impatient.limits.pause_time = Duration::from_millis(200);
    let client = || Updater::new(impatient.clone()).unwrap();

    let snapshot = repository.files["1.snapshot.json"].clone();
    let mut flipped = snapshot.clone();
    let at = flipped.windows(7).position(|bytes| bytes == b"version").unwrap();
    flipped[at] ^= 1;
    let attacks: [(&str, Reply, Expected); 10] = [
        ("timestamp.json", Reply::Endless, |it| matches!(it, Error::TooLong { bytes_max: 16_384, .. })),
        ("timestamp.json", Reply::Bytes(vec![b' '; 16_385]), |it| matches!(it, Error::TooLong { .. })),
        ("timestamp.json", Reply::Stalled, |it| matches!(it, Error::Transport { .. })),
        ("timestamp.json", Reply::Status(StatusCode::NOT_FOUND), |it| matches!(it, Error::Absent { .. })),
        ("timestamp.json", Reply::Bytes(snapshot.clone()), |it| {
            matches!(it, Error::Refused { source: rstuf_tuf::Error::WrongType { .. }, .. })
        }),
        ("1.snapshot.json", Reply::Endless, |it| matches!(it, Error::TooLong { .. })),
        ("1.snapshot.json", Reply::Bytes(flipped), |it| matches!(it, Error::Refused { .. })),
        ("1.snapshot.json", Reply::Status(StatusCode::INTERNAL_SERVER_ERROR), |it| {
            matches!(it, Error::Status { status: 500, .. })
        }),
        ("2.targets.json", Reply::Bytes(b"{}".to_vec()), |it| matches!(it, Error::Refused { .. })),
        ("2.root.json", Reply::Endless, |it| matches!(it, Error::TooLong { bytes_max: 512_000, .. })),
    ];
    for (name, reply, expected) in attacks {
        server.publish(&repository.files);
        server.put(&format!("/metadata/{name}"), reply);
        let mut client = client();
        let error = client.refresh(start()).await.unwrap_err();
        assert!(expected(&error), "{name}: {error}");
        assert!(client.trusted().is_none());
    }

    server.publish(&repository.files);
    // A signed length is no leave to fill the memory.
    let entry = MetaEntry::new(Version::ONE, 1 << 40, Sha256::of(&snapshot));
    let expires = start() + 20.hours();
    let vast = Timestamp { version: Version::ONE, expires, snapshot: entry, unknown: Default::default() };
    server.put("/metadata/timestamp.json", Reply::Bytes(repository::sign(&vast, &[&repository.timestamp_key])));
    server.put("/metadata/1.snapshot.json", Reply::Endless);
    let mut patient = Updater::new(options(&url, repository.first_root())).unwrap();
    let error = patient.refresh(start()).await.unwrap_err();
    let document_bytes_max = rstuf_tuf::DOCUMENT_BYTES_MAX as u64;
    assert!(matches!(error, Error::TooLong { bytes_max, .. } if bytes_max == document_bytes_max), "{error}");

    server.publish(&repository.files);
    let stale = client().refresh(start() + 25.hours()).await;
    assert!(matches!(refused(stale), rstuf_tuf::Error::Expired { role, .. } if role == RoleName::timestamp()));

    let mut client = client();
    client.refresh(start()).await.unwrap();
    let place = format!("/targets/dir/{}.file", Sha256::of(b"content"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"before").unwrap();
    let replies: [(Reply, Expected); 5] = [
        (Reply::Bytes(b"Content".to_vec()), |it| matches!(it, Error::Mismatch { what: "hashes", .. })),
        (Reply::Bytes(b"conten".to_vec()), |it| matches!(it, Error::Mismatch { what: "length", .. })),
        (Reply::Bytes(b"content and more".to_vec()), |it| matches!(it, Error::TooLong { bytes_max: 7, .. })),
        (Reply::Endless, |it| matches!(it, Error::TooLong { bytes_max: 7, .. })),
        (Reply::Stalled, |it| matches!(it, Error::Transport { .. })),
    ];
    for (reply, expected) in replies {
        server.put(&place, reply);
        let error = client.download_to(&path("dir/file"), &file).await.unwrap_err();
        assert!(expected(&error), "{error}");
        assert!(expected(&client.download(&path("dir/file")).await.unwrap_err()));
    }
    // Nothing of it was kept, not even under another name.
    assert_eq!(std::fs::read(&file).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

    assert!(matches!(Updater::new(options("ftp://host", repository.first_root())), Err(Error::Url { .. })));
    assert!(matches!(Updater::new(options(&url, snapshot)), Err(Error::Refused { .. })));
}
