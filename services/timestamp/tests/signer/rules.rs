//! What is signed, and what the rules forbid.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::proto::signer::v1 as proto;
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_signing::testing::*;
use rstuf_tuf::{Envelope, MetaEntry, RoleKeys, Sha256};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn signs_by_the_rules_and_replays_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let request = repo.request(None, 1, &repo.snapshot(1));
    // The answer to the first attempt is lost with the caller; the same request is answered with the same bytes.
    drop(tokio::time::timeout(Duration::ZERO, sign(&signer, request.clone())).await);
    let first = sign(&signer, request.clone()).await.unwrap();
    assert_eq!(sign(&signer, request.clone()).await.unwrap(), first);
    let envelope = Envelope::parse(&first).unwrap();
    let public_key = signer.public_key().await;
    assert!(public_key.verify(envelope.canonical(), &envelope.signatures()[0].sig));
    let named: rstuf_tuf::Timestamp = envelope.decode().unwrap();
    let snapshot = repo.snapshot(1);
    assert_eq!(named.snapshot, MetaEntry::new(version(1), snapshot.len() as u64, Sha256::of(&snapshot)));

    let metrics = signer.metrics();
    for line in ["rstuf_signatures_total{service=\"timestamp\",role=\"timestamp\"} 1", "rstuf_expiry_seconds"] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    signer.stop().await;

    let signer = start(dir.path()).await;
    signer.clock.advance(Duration::from_secs(3600));
    assert_eq!(sign(&signer, request.clone()).await.unwrap(), first, "replayed after a restart");
    let second = sign(&signer, repo.request(Some(&first), 3, &repo.snapshot(2))).await.unwrap();
    assert_eq!(signer.role_states().await, BTreeMap::from([("timestamp".to_owned(), (3, 3))]));
    // The first answer was superseded: that version is never signed again, and never again answered.
    assert_eq!(refused(&signer, request).await, "VERSION_USED");
    let documents = signer.client().get_documents(proto::GetDocumentsRequest { roles: vec!["timestamp".into()] }).await;
    let document = documents.unwrap().into_inner().message().await.unwrap().unwrap().document.unwrap();
    assert_eq!(document.envelope, second);
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_the_rules_forbid() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::new(&signer).await;
    let snapshot = repo.snapshot(5);
    assert_eq!(refused(&signer, repo.request(None, 1, &snapshot)).await, "NOT_PINNED");
    pin(&signer, &repo.root).await.unwrap();
    let first = sign(&signer, repo.request(None, 1, &snapshot)).await.unwrap();
    let base = Some(&*first);

    let with = |change: &dyn Fn(&mut proto::SignTimestampRequest)| {
        let mut request = repo.request(base, 2, &snapshot);
        change(&mut request);
        request
    };
    let by = |key: &FileKey, number, days, length| repo.snapshot_by(key, number, days, length);
    let revised = |base: Option<&[u8]>, number: u32, expires: Timestamp| {
        with(&|request| request.revision = Some(revision("timestamp", base, number, expires)))
    };
    let showing = |snapshot: Bytes| with(&|request| request.snapshot = Some(document("snapshot", &snapshot)));
    let other = Sha256([9; 32]);
    let newer = signed(
        &Envelope::parse(&first)
            .unwrap()
            .decode::<rstuf_tuf::Timestamp>()
            .map(|mut it| {
                it.version = version(2);
                it
            })
            .unwrap(),
        &[&holder()],
    );
    let half: Bytes = {
        let text = String::from_utf8(snapshot.to_vec()).unwrap();
        text.replace("\"version\":5", "\"version\":6").into()
    };
    let cases = [
        ("another repository", with(&|request| request.header = Some(header(other, "b"))), "WRONG_REPOSITORY"),
        ("a version used", revised(base, 1, after_days(1)), "VERSION_USED"),
        ("a version far ahead", revised(base, 18, after_days(1)), "VERSION_TOO_HIGH"),
        ("no base", revised(None, 2, after_days(1)), "BASE_MISMATCH"),
        ("a newer base", revised(Some(&newer), 3, after_days(1)), "BASE_BEHIND"),
        ("expired at birth", revised(base, 2, start_time()), "EXPIRES_OUT_OF_BOUNDS"),
        ("lives too long", revised(base, 2, after_days(8)), "EXPIRES_OUT_OF_BOUNDS"),
        ("signed by nobody", showing(by(&holder(), 6, 7, 0)), "EVIDENCE_INVALID"),
        ("signed by another role", showing(by(&repo.targets, 6, 7, 0)), "EVIDENCE_INVALID"),
        ("changed after signing", showing(half), "EVIDENCE_INVALID"),
        ("expired snapshot", showing(by(&repo.snapshot, 6, -1, 0)), "EVIDENCE_INVALID"),
        ("older snapshot", showing(repo.snapshot(4)), "EVIDENCE_INVALID"),
        ("same version, other contents", showing(by(&repo.snapshot, 5, 7, 1)), "EVIDENCE_INVALID"),
        ("not a snapshot", showing(repo.root.clone()), "EVIDENCE_INVALID"),
    ];
    for (what, request, expected) in cases {
        let status = refusal(&signer, request).await;
        assert_eq!(reason(&status), expected, "{what}");
        // Whoever's clock is wrong, nothing is wrong with the document.
        let is_expired = rstuf_api::Reason::of(&status).unwrap().metadata.contains_key("expired_at");
        assert_eq!(is_expired, what == "expired snapshot", "{what}");
    }
    let malformed = with(&|request| request.header.as_mut().unwrap().format = 2);
    assert_eq!(sign(&signer, malformed).await.unwrap_err().code(), Code::InvalidArgument);

    signer.clock.set(after_days(-1));
    assert_eq!(refused(&signer, revised(base, 2, after_days(1))).await, "CLOCK_WENT_BACK");
    signer.clock.set(start_time());
    assert!(
        signer.metrics().contains("rstuf_sign_refusals_total{service=\"timestamp\",reason=\"EVIDENCE_INVALID\"} 7")
    );
    // After all that, what is right is still signed.
    sign(&signer, revised(base, 17, after_days(1))).await.unwrap();
    signer.stop().await;
}

/// Without pause and 16 at once: a burst and four a second, restarts or not; and no more for the
/// snapshots that are shown.
#[tokio::test(flavor = "multi_thread")]
async fn versions_rise_no_faster_than_their_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let mut last = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    let number = |envelope: &Bytes| Envelope::parse(envelope).unwrap().version().get();
    for second in 0..100_u32 {
        while let Ok(next) = sign(&signer, repo.request(Some(&last), number(&last) + 16, &repo.snapshot(1))).await {
            last = next;
        }
        assert_eq!(
            refused(&signer, repo.request(Some(&last), number(&last) + 16, &repo.snapshot(1))).await,
            "VERSION_BUDGET"
        );
        let most = 1_000 + 4 * second;
        assert!((most - 16..=most).contains(&number(&last)), "version {} after {second} s", number(&last));
        if second == 50 {
            signer.stop().await;
            signer = start(dir.path()).await;
            signer.clock.advance(Duration::from_secs(50));
        }
        signer.clock.advance(Duration::from_secs(1));
    }
    // Since snapshot 1 was shown last, one second and half a day ago.
    let half_a_day = 12 * 3_600;
    signer.clock.advance(Duration::from_secs(u64::from(half_a_day)));
    let shown = |version: u32| repo.request(Some(&last), number(&last) + 1, &repo.snapshot(version));
    let most = 1 + 1_000 + 4 * (1 + half_a_day);
    assert_eq!(refused(&signer, shown(most + 1)).await, "VERSION_BUDGET");
    sign(&signer, shown(most)).await.unwrap();
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_below_its_threshold_is_no_base_and_its_version_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let (mut repo, other, own) = (Repo::new(&signer).await, holder(), signer.public_key().await);
    let mut root = root(1, &repo.root_key, [repo.targets.public_key(), repo.snapshot.public_key(), &own]);
    root.keys.insert(other.public_key().key_id(), other.public_key().clone());
    root.roles.timestamp = RoleKeys::new(vec![own.key_id(), other.public_key().key_id()], 2).unwrap();
    repo.root = signed(&root, &[&repo.root_key]);
    pin(&signer, &repo.root).await.unwrap();

    let half = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    let states = BTreeMap::from([("timestamp".to_owned(), (0, 1))]);
    assert_eq!(signer.role_states().await, states, "half a document is no base, but its version is used");
    assert_eq!(reason(&load(&signer, "timestamp", &half).await.unwrap_err()), "EVIDENCE_INVALID");
    let mut retry = repo.request(None, 1, &repo.snapshot(2));
    assert_eq!(refused(&signer, retry.clone()).await, "VERSION_USED", "a version given up is never used again");
    retry.revision = Some(revision("timestamp", None, 2, after_days(1)));
    let second = sign(&signer, retry.clone()).await.unwrap();
    // Both signatures over the same contents: the base, and still the own answer to the own request.
    let own_key = FileKey::open(&dir.path().join("key.pem"), None).unwrap();
    let content: rstuf_tuf::Timestamp = Envelope::parse(&second).unwrap().decode().unwrap();
    let merged = signed(&content, &[&own_key, &other]);
    load(&signer, "timestamp", &merged).await.unwrap();
    assert_eq!(signer.role_states().await, BTreeMap::from([("timestamp".to_owned(), (2, 2))]));
    signer.stop().await;
    let signer = start(dir.path()).await;
    assert_eq!(sign(&signer, retry).await.unwrap(), second);
    // Other contents of that version by the own key come from a cloned disk.
    let mut cloned = content;
    cloned.expires = after_days(2);
    let cloned = signed(&cloned, &[&own_key, &other]);
    assert_eq!(reason(&load(&signer, "timestamp", &cloned).await.unwrap_err()), "STATE_RESTORED");
    assert_eq!(refused(&signer, repo.request(Some(&merged), 3, &repo.snapshot(3))).await, "STATE_RESTORED");
    signer.stop().await;
}

/// All that a repository can have: whoever loads more in one stream is refused at the next one.
#[tokio::test(flavor = "multi_thread")]
async fn documents_in_a_stream_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.snapshot(1))).await.unwrap();
    let message = proto::LoadDocumentsRequest { document: Some(document("timestamp", &first)) };
    let unending = tokio_stream::iter(vec![message; 16_386]).chain(tokio_stream::pending());
    let status = refused_before_the_end(signer.client().load_documents(unending)).await;
    assert_eq!(reason(&status), "INVALID_FIELD");
    assert!(status.message().contains("document: allowed are at most 16385 in one stream"), "{status:?}");
    signer.stop().await;
}

#[test]
fn no_call_of_any_signer_takes_bytes_to_sign() {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(rstuf_api::proto::DESCRIPTORS).unwrap();
    let file = set.file.iter().find(|file| file.package() == "rstuf.signer.v1").unwrap();
    let calls: Vec<_> = file.service.iter().flat_map(|it| it.method.iter().map(|method| method.name())).collect();
    let known = ["DescribeSigner", "GetDocuments", "ListRoleStates", "LoadDocuments", "Pin"];
    let typed = ["SignSnapshot", "SignTargets", "SignTimestamp"];
    let mut sorted = calls.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [known.as_slice(), &typed].concat());
    // Bytes in requests are names of documents, evidence in full, and roots: nothing else.
    let allowed = ["repository_id", "roots", "root", "targets", "documents_sha256"];
    let requests = file.message_type.iter().filter(|message| !message.name().ends_with("Response"));
    for message in requests {
        for field in
            message.field.iter().filter(|field| field.r#type() == prost_types::field_descriptor_proto::Type::Bytes)
        {
            assert!(allowed.contains(&field.name()), "{}.{}", message.name(), field.name());
        }
    }
}
