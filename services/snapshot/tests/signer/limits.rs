//! How much is taken, how fast, and what is judged before more is read.

use std::time::Duration;

use bytes::Bytes;
use rstuf_api::proto::signer::v1::{self as proto, sign_snapshot_request::Part};
use rstuf_signing::testing::*;
use rstuf_tuf::{Layout, MetaEntry, Sha256};
use tokio_stream::StreamExt as _;

use crate::support::*;

/// The reason and message by which a request that never ends is refused after these parts.
async fn refused_after(signer: &Running, parts: Vec<Part>) -> (String, String) {
    let unending = tokio_stream::iter(parts).chain(tokio_stream::pending());
    let status = refused_before_the_end(send(signer, unending)).await;
    (reason(&status), status.message().to_owned())
}

/// Whose request it is, is judged before more is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_judged_by_what_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let first = async |header: proto::SigningHeader| {
        let revision = Some(revision("snapshot", None, 1, after_days(7)));
        let header = proto::SnapshotHeader { header: Some(header), revision };
        refused_after(&signer, vec![Part::Header(header)]).await.0
    };
    let other = Sha256([1; 32]);
    assert_eq!(first(header(other, "a")).await, "NOT_PINNED");
    let repo = Repo::pinned(&signer).await;
    assert_eq!(first(header(other, "a")).await, "WRONG_REPOSITORY");
    let right = || header(repo.id(), "a");
    assert_eq!(first(proto::SigningHeader { format: 2, ..right() }).await, "INVALID_FIELD");
    let roots = vec![Bytes::from_static(b"no root")];
    assert_eq!(first(proto::SigningHeader { roots, ..right() }).await, "EVIDENCE_INVALID");
    let headless = vec![Part::Document(document("bins-0", &repo.bin(1)))];
    assert_eq!(refused_after(&signer, headless).await.0, "INVALID_FIELD");
    signer.stop().await;
}

/// All bins that there can be and the top-level targets: whoever sends more is refused at the next one.
#[tokio::test(flavor = "multi_thread")]
async fn documents_in_a_stream_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let documents = |count: u32| (0..count).map(|number| (format!("r-{number:x}"), Bytes::from_static(b"{"))).collect();
    let mut parts = repo.request(None, 1, &documents(16_386));
    parts.pop();
    let (reason, message) = refused_after(&signer, parts).await;
    assert_eq!(reason, "INVALID_FIELD");
    assert!(message.contains("document: allowed are at most 16385 in one stream"), "{message}");
    // As many as may be are judged by what they say.
    assert_eq!(refused(&signer, repo.request(None, 1, &documents(16_385))).await.0, "EVIDENCE_INVALID");
    signer.stop().await;
}

/// What is shown of a bin may have risen by a burst and four a second since it was shown last, restarts or not.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_rises_no_faster_than_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let mut last = sign(&signer, repo.request(None, 1, &repo.evidence())).await.unwrap();
    signer.stop().await;
    let signer = start(dir.path()).await;
    signer.clock.advance(Duration::from_secs(100));
    let most = 1 + 1_000 + 4 * 100;
    // Each role has a budget of its own; what was spent comes back by four a second.
    for (number, (role, most)) in
        (2..).zip([("bins-0", most), ("bins-1", most), ("targets", most), ("bins-0", most + 4)])
    {
        if number == 5 {
            signer.clock.advance(Duration::from_secs(1));
        }
        let document = |version| match role {
            "targets" => repo.targets(version, "succinct:2", &repo.bins),
            _ => repo.bin(version),
        };
        let shown = |version| repo.request(Some(&last), number, &evidence([(role, document(version))]));
        assert_eq!(refused(&signer, shown(most + 1)).await.0, "VERSION_BUDGET", "{role}");
        last = sign(&signer, shown(most)).await.unwrap();
    }
    signer.stop().await;
}

/// The evidence of so many bins, none of which changed.
fn bins(repo: &Repo, number: u32, bins: u32) -> Documents {
    let layout = format!("succinct:{bins}");
    let mut documents = evidence([("targets", repo.targets(number, &layout, &repo.bins))]);
    let (layout, bin): (Layout, _) = (layout.parse().unwrap(), bin_by(&repo.bins, 1, 30));
    documents.extend(layout.online_roles().iter().map(|role| (role.to_string(), bin.clone())));
    documents
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_bins_in_the_first_request() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &bins(&repo, 1, 4_096))).await.unwrap();
    assert_eq!(parsed(&first).meta.len(), 4_097);
    signer.stop().await;
    let signer = start(dir.path()).await;
    let one = evidence([("bins-abc", repo.bin(2))]);
    let second = sign(&signer, repo.request(Some(&first), 2, &one)).await.unwrap();
    assert_eq!(entry(&second, "bins-abc").version, version(2));
    signer.stop().await;
}

/// Unless the operator says otherwise: with more bins than 1,024, snapshots name versions alone.
#[tokio::test(flavor = "multi_thread")]
async fn digests_stand_beside_at_most_1024_bins() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &bins(&repo, 1, 1_024))).await.unwrap();
    assert!(entry(&first, "bins-000").hashes.is_some());
    let second = sign(&signer, repo.request(Some(&first), 2, &bins(&repo, 2, 2_048))).await.unwrap();
    assert_eq!(entry(&second, "bins-000"), MetaEntry::version_only(version(1)));
    assert!(entry(&second, "targets").hashes.is_some());
    signer.stop().await;
}
