//! From one run to the next.

use jiff::ToSpan;
use rstuf_tuf::{Layout, RoleName, Sha256};
use rstuf_updater::{Error, Updater};

use crate::{
    repository::{Repository, key, path, public, start, target},
    server::{Reply, Server},
    support::*,
};

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
    let client = || Updater::new(options(&url, Repository::new().first_root()).with_state_dir(state.path())).unwrap();
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

/// What an earlier run kept is what forbids an older repository. One of whose bits another one came is no reason to go
/// on without; to whom roles' keys changed since, see the tests of roots.
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
