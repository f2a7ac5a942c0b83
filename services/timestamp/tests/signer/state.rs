//! What a signer keeps: its pin, its key and its state.

use std::{fs, path::Path};

use rstuf_api::proto::signer::v1 as proto;
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_signing::{Error, StartError, testing::*};
use rstuf_timestamp::ConfigRaw;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn pins_once_and_follows_roots_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::new(&signer).await;
    let (own, stranger) = (signer.public_key().await, holder());
    let refused_root = |root: rstuf_tuf::Root, keys: Vec<&FileKey>| signed(&root, &keys);
    let (targets, snapshot) = (repo.targets.public_key(), repo.snapshot.public_key());
    let key = &repo.root_key;
    let roots = [
        refused_root(root(1, key, [targets, snapshot, stranger.public_key()]), vec![key]),
        refused_root(root(1, key, [targets, &own, &own]), vec![key]),
        refused_root(root(1, key, [targets, snapshot, &own]), vec![&stranger]),
        refused_root(root(2, key, [targets, snapshot, &own]), vec![key]),
    ];
    for root in roots {
        assert_eq!(reason(&pin(&signer, &root).await.unwrap_err()), "EVIDENCE_INVALID");
    }
    pin(&signer, &repo.root).await.unwrap();
    pin(&signer, &repo.root).await.unwrap();
    let mut again = root(1, key, [targets, snapshot, &own]);
    again.expires = after_days(1);
    assert_eq!(reason(&pin(&signer, &signed(&again, &[key])).await.unwrap_err()), "ALREADY_PINNED");

    // Root 2 takes the snapshot key away; a root 2 that root 1 did not sign takes nothing.
    let second = root(2, key, [targets, stranger.public_key(), &own]);
    let mut request = repo.request(None, 1, &repo.snapshot(1));
    request.header.as_mut().unwrap().roots = vec![signed(&second, &[&stranger])];
    assert_eq!(refused(&signer, request.clone()).await, "EVIDENCE_INVALID");
    request.header.as_mut().unwrap().roots = vec![repo.root.clone(), signed(&second, &[key])];
    assert_eq!(refused(&signer, request.clone()).await, "EVIDENCE_INVALID", "the old snapshot key counts no more");
    request.snapshot = Some(document("snapshot", &repo.snapshot_by(&stranger, 1, 7, 0)));
    sign(&signer, request).await.unwrap();
    signer.stop().await;
    let signer = start(dir.path()).await;
    let description = signer.client().describe_signer(proto::DescribeSignerRequest {}).await.unwrap().into_inner();
    assert_eq!((description.root_version, &*description.repository_id), (2, repo.id().as_bytes().as_slice()));
    signer.stop().await;

    let dir = tempfile::tempdir().unwrap();
    let configured = |raw: &mut ConfigRaw| raw.signer.root_sha256 = Some("ab".repeat(32).as_str().into());
    let signer = build(dir.path(), true, configured).await.unwrap();
    let repo = Repo::new(&signer).await;
    assert_eq!(reason(&pin(&signer, &repo.root).await.unwrap_err()), "WRONG_REPOSITORY");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_disk_signs_nothing_any_more() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;
    let old = backup.path().join("state");
    copy(dir.path(), &old);
    let signer = start(dir.path()).await;
    let second = sign(&signer, repo.request(Some(&first), 2, &repo.snapshot(2))).await.unwrap();
    signer.stop().await;

    let signer = start(&old).await;
    let third = repo.request(Some(&second), 3, &repo.snapshot(3));
    assert_eq!(refused(&signer, third.clone()).await, "BASE_BEHIND");
    assert_eq!(reason(&load(&signer, "timestamp", &second).await.unwrap_err()), "STATE_RESTORED");
    let harmless = repo.request(Some(&first), 2, &repo.snapshot(2));
    assert_eq!(refused(&signer, harmless.clone()).await, "STATE_RESTORED");
    signer.stop().await;
    let signer = start(&old).await;
    assert_eq!(refused(&signer, harmless).await, "STATE_RESTORED", "for ever");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_and_state_die_together() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pem");
    assert!(matches!(build(dir.path(), false, |_| ()).await, Err(StartError::NoKey { .. })));
    let signer = start(dir.path()).await;
    let in_use = build(dir.path(), true, |_| ()).await;
    assert!(matches!(in_use, Err(StartError::Store(rstuf_store::Error::InUse { .. }))));
    let repo = Repo::pinned(&signer).await;
    sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;

    // A key that outlives its state.
    let emptied = tempfile::tempdir().unwrap();
    fs::copy(&key, emptied.path().join("key.pem")).unwrap();
    assert!(matches!(build(emptied.path(), true, |_| ()).await, Err(StartError::KeyWithoutState { .. })));
    // A state that outlives its key, and one with a stranger's.
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(build(dir.path(), true, |_| ()).await, Err(StartError::KeyLost { .. })));
    holder().save(&key, None, &mut rstuf_keys::SysRng).unwrap();
    assert!(matches!(build(dir.path(), true, |_| ()).await, Err(StartError::OtherKey { .. })));
    fs::write(&key, kept).unwrap();
    build(dir.path(), false, |_| ()).await.unwrap().stop().await;
}

/// What a crash left of a key that was being made goes with the next start, and nothing else does: neither other files,
/// nor what may be the last copy of a key that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_never_used_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (key, left, aside) = (path("key.pem"), path("key.pem.00000000000000ab.new"), path("aside"));
    let others = ["key.pem.new", "key.pem.ab.new", "key.pem.00000000000000xy.new", "ca.pem.00000000000000ab.new"];
    for other in others {
        fs::write(path(other), "").unwrap();
    }
    fs::write(&left, "half").unwrap();
    let signer = start(dir.path()).await;
    assert!(key.exists() && !left.exists());
    Repo::pinned(&signer).await;
    signer.stop().await;

    fs::copy(&key, &left).unwrap();
    fs::rename(&key, &aside).unwrap();
    assert!(matches!(build(dir.path(), true, |_| ()).await, Err(StartError::KeyLost { .. })));
    assert!(left.exists(), "it may be the only one");
    fs::rename(&aside, &key).unwrap();
    build(dir.path(), false, |_| ()).await.unwrap().stop().await;
    assert!(!left.exists());
    assert!(others.iter().all(|other| path(other).exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_what_was_signed_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    signer.stop().await;
    // Another document in its place, the store's checksums right: the own checks must see it.
    let store = rstuf_store::Store::open(rstuf_store::Options::new(dir.path(), "timestamp")).unwrap();
    let (row, mut bytes) = store.scan("body/", None, 1).unwrap().remove(0);
    assert_eq!(bytes, first);
    *bytes.last_mut().unwrap() = b' ';
    store.commit(rstuf_store::Batch::new().put(row, bytes)).await.unwrap();
    store.close().await.unwrap();
    let started = build(dir.path(), false, |_| ()).await;
    assert!(matches!(started, Err(StartError::State(Error::Corrupt { .. }))));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
