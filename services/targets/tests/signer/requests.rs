//! Requests that are wrong by themselves.

use bytes::Bytes;
use rstuf_api::proto::{
    artifacts::v1 as artifacts,
    signer::v1::{
        self as proto, sign_targets_request::Part, targets_signer_service_client::TargetsSignerServiceClient,
    },
};
use rstuf_signing::testing::*;
use rstuf_tuf::{Sha256, TargetPath};
use tokio_stream::StreamExt as _;

use crate::support::*;

/// The reason and message by which a request that never ends is refused after these parts.
async fn refused_after(signer: &Running, parts: Vec<Part>) -> (String, String) {
    let parts = tokio_stream::iter(parts).map(|part| proto::SignTargetsRequest { part: Some(part) });
    let mut client = TargetsSignerServiceClient::new(signer.channel.clone());
    let status = refused_before_the_end(client.sign_targets(parts.chain(tokio_stream::pending()))).await;
    (reason(&status), status.message().to_owned())
}

/// Whose request it is, and how much of it there is, is judged before more is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_judged_by_what_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let first = async |part: Part| refused_after(&signer, vec![part]).await;
    let right = Sha256([1; 32]);
    assert_eq!(first(Part::Header(header(right, "a"))).await.0, "NOT_PINNED");
    let repo = Repo::pinned(&signer, "succinct:2").await;
    assert_eq!(first(Part::Header(header(right, "a"))).await.0, "WRONG_REPOSITORY");
    let other_format = proto::SigningHeader { format: 2, ..header(Sha256::of(&repo.root), "a") };
    assert_eq!(first(Part::Header(other_format)).await.0, "INVALID_FIELD");
    let roots = vec![Bytes::from_static(b"no root")];
    let strange_root = proto::SigningHeader { roots, ..header(Sha256::of(&repo.root), "a") };
    assert_eq!(first(Part::Header(strange_root)).await.0, "EVIDENCE_INVALID");
    let many = role("bins-0", None, 1, vec![proto::SubmittedChange::default(); 10_001]);
    let (reason, message) = first(Part::RoleChanges(many)).await;
    assert_eq!(reason, "INVALID_FIELD");
    assert!(message.contains("role_changes.changes: more than 10000 in one message"), "{message}");
    // More roles than a repository can have.
    let roles = (0..16_385).map(|number| role(&format!("r-{number:x}"), None, 1, vec![])).collect();
    let (reason, message) = refused_after(&signer, repo.request("a", roles)).await;
    assert_eq!(reason, "INVALID_FIELD");
    assert!(message.contains("role_changes: more than 16384 roles"), "{message}");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_is_named_by_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let path: TargetPath = "a".parse().unwrap();
    let good = || role("targets", None, 1, vec![add(1, path.as_str(), target(1))]);
    let broken = |change: &dyn Fn(&mut proto::RoleChanges)| {
        let mut role = good();
        change(&mut role);
        repo.request("a", vec![role])
    };
    let remove_path =
        |path: &str| artifacts::Change { kind: Some(artifacts::change::Kind::RemovePath(path.to_owned())) };
    let cases = [
        (vec![Part::RoleChanges(good())], "part"),
        (repo.request("", vec![good()]), "header.batch_id"),
        (repo.request("a", vec![]), "role_changes"),
        (repo.request("a", vec![good(), good()]), "role_changes.role"),
        (broken(&|role| role.role = "Targets".to_owned()), "role_changes.role"),
        (broken(&|role| role.revision = None), "revision"),
        (broken(&|role| role.revision.as_mut().unwrap().version = 0), "revision.version"),
        (broken(&|role| role.changes[0].change = None), "targets.changes[0].change"),
        (broken(&|role| role.changes[0] = submitted(0, remove_path("../a"))), "targets.changes[0].remove_path"),
    ];
    for (request, field) in cases {
        let status = sign(&signer, request).await.unwrap_err();
        let fields: Vec<_> = rstuf_api::violations(&status).into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, [field], "{status:?}");
    }
    assert!(signer.role_states().await.is_empty());
    sign(&signer, repo.request("a", vec![good()])).await.unwrap();
    signer.stop().await;
}
