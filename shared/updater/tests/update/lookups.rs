//! Delegations, and what a server may send.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::ToSpan;
use rstuf_tuf::{
    DelegatedRole, Delegations, MetaEntry, PathPattern, Paths, RoleName, Sha256, Timestamp, Version, keys_by_id,
};
use rstuf_updater::{Error, Updater};

use crate::{
    repository::{Repository, key, path, public, role_keys, sign, start, target},
    server::{Reply, Server},
    support::*,
};

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
    server.put("/metadata/timestamp.json", Reply::Bytes(sign(&vast, &[&repository.timestamp_key])));
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
