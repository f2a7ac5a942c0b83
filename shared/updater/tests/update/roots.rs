//! Roots that replace keys.

use jiff::ToSpan;
use rstuf_tuf::{TopLevel, Version, keys_by_id};
use rstuf_updater::Updater;

use crate::{
    repository::{Repository, key, public, role_keys, sign, start},
    server::Server,
    support::*,
};

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
    forged.insert("2.root.json".to_owned(), sign(&root, &[&new]));
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
