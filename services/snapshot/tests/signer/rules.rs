//! What is signed, and what evidence is refused.

use bytes::Bytes;
use rstuf_api::proto::signer::v1::{self as proto, sign_snapshot_request::Part};
use rstuf_keys::KeySource as _;
use rstuf_signing::testing::*;
use rstuf_tuf::{Envelope, MetaEntry, Sha256, Snapshot, Targets};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn names_what_it_verified_in_whatever_order_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    // Bins before the delegation that they need: they wait for it.
    let mut documents = repo.evidence();
    documents.reverse();
    let request = repo.request(None, 1, &documents);
    let first = sign(&signer, request.clone()).await.unwrap();
    assert_eq!(parsed(&first).meta.len(), 3);
    for (role, bytes) in &documents {
        assert_eq!(entry(&first, role), MetaEntry::new(version(1), bytes.len() as u64, Sha256::of(bytes)), "{role}");
    }
    signer.stop().await;

    let signer = start(dir.path()).await;
    // Long after the evidence expired, the same request has the same answer, and a new one does not.
    signer.clock.set(after_days(400));
    assert_eq!(sign(&signer, request).await.unwrap(), first);
    signer.clock.set(start_time());
    let second = sign(&signer, repo.request(Some(&first), 2, &evidence([("bins-1", repo.bin(2))]))).await.unwrap();
    assert_eq!(entry(&second, "bins-1").version, version(2));
    assert_eq!(entry(&second, "bins-0"), entry(&first, "bins-0"));
    signer.stop().await;

    // A renewal brings no documents. This signer is to list versions alone where there are more roles than one: that is
    // for its operator to say, and for no caller.
    let signer = hashing(dir.path(), 1).await;
    let third = sign(&signer, repo.request(Some(&second), 3, &Vec::new())).await.unwrap();
    assert_eq!(entry(&third, "bins-1"), MetaEntry::version_only(version(2)));
    assert!(entry(&third, "targets").hashes.is_some());
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_evidence_that_does_not_prove() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let all = repo.evidence();
    let incomplete =
        [(all[1..].to_vec(), "WRONG_ROLE"), (all[..2].to_vec(), "EVIDENCE_INVALID"), (vec![], "EVIDENCE_INVALID")];
    for (documents, expected) in &incomplete {
        assert_eq!(
            refused(&signer, repo.request(None, 1, documents)).await.0,
            *expected,
            "{} documents",
            documents.len()
        );
    }
    let mut raised = all.clone();
    raised[1].1 = repo.bin(3);
    let first = sign(&signer, repo.request(None, 1, &raised)).await.unwrap();
    let stranger = holder();
    let nested = repo.targets(4, "succinct:2", &repo.bins);
    let nested: Targets = Envelope::parse(&nested).unwrap().decode().unwrap();
    let silent: Targets = Envelope::parse(&repo.bin(4)).unwrap().decode().unwrap();
    let other = Targets { role: Some("bins-1".parse().unwrap()), ..silent.clone() };
    let target = rstuf_tuf::Target::new(1, Sha256([7; 32]).into(), None).unwrap();
    // Half of all paths are the other bin's.
    let foreign = (0..64).map(|n| (format!("p{n}").parse().unwrap(), target.clone())).collect();
    let foreign = Targets { targets: foreign, ..silent };
    let cases = [
        ("of another bin", evidence([("bins-0", signed(&other, &[&repo.bins]))])),
        ("with paths of another bin", evidence([("bins-0", signed(&foreign, &[&repo.bins]))])),
        ("an older document", evidence([("bins-0", repo.bin(2))])),
        ("same version, other contents", evidence([("bins-0", bin_by(&repo.bins, 3, 31))])),
        ("signed by nobody of the role", evidence([("bins-0", bin_by(&stranger, 4, 30))])),
        ("expired", evidence([("bins-0", bin_by(&repo.bins, 4, -1))])),
        ("another type", evidence([("bins-0", repo.root.clone())])),
        ("one role twice", evidence([("bins-0", repo.bin(4)), ("bins-0", repo.bin(4))])),
        ("delegates further", evidence([("bins-0", signed(&nested, &[&repo.bins]))])),
        ("delegations signed online", evidence([("targets", bin_by(&repo.bins, 2, 30))])),
        ("no JSON", evidence([("bins-0", Bytes::from_static(b"{"))])),
    ];
    for (what, documents) in cases {
        let (reason, message) = refused(&signer, repo.request(Some(&first), 2, &documents)).await;
        assert_eq!(reason, "EVIDENCE_INVALID", "{what}");
        assert!(message.starts_with("bins-0: ") || message.starts_with("targets: "), "{message}");
    }
    let strangers = evidence([("other", repo.bin(1))]);
    assert_eq!(refused(&signer, repo.request(Some(&first), 2, &strangers)).await.0, "WRONG_ROLE");
    let timestamp = evidence([("timestamp", bin_by(&repo.timestamp, 1, 1))]);
    assert_eq!(refused(&signer, repo.request(Some(&first), 2, &timestamp)).await.0, "WRONG_ROLE");
    // A list other than the one that was sent.
    let mut cut = repo.request(Some(&first), 2, &evidence([("bins-0", repo.bin(4)), ("bins-1", repo.bin(4))]));
    cut.remove(1);
    assert_eq!(refused(&signer, cut).await.0, "EVIDENCE_INVALID");
    let right = evidence([("bins-0", repo.bin(4))]);
    // The end is the end.
    for part in [Part::Document(document("bins-1", &repo.bin(4))), Part::End(proto::EvidenceEnd::default())] {
        let longer = [repo.request(Some(&first), 2, &right), vec![part]].concat();
        let (reason, message) = refused(&signer, longer).await;
        assert_eq!(reason, "INVALID_FIELD");
        assert!(message.contains("after the end of the evidence"), "{message}");
    }
    let second = sign(&signer, repo.request(Some(&first), 2, &right)).await.unwrap();
    // The same version with other evidence is another request.
    let other = evidence([("bins-0", repo.bin(5))]);
    assert_eq!(refused(&signer, repo.request(Some(&first), 2, &other)).await.0, "VERSION_USED");
    assert_eq!(parsed(&second).meta.len(), 3);
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_delegations_count_for_all_roles_and_names_stay() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.evidence())).await.unwrap();
    // Another key for the bins: what the old key signed counts no more, also where nothing else changed.
    let new_key = holder();
    let rotated = ("targets", repo.targets(2, "succinct:2", &new_key));
    let half = evidence([rotated.clone(), ("bins-0", bin_by(&new_key, 2, 30))]);
    let (reason, message) = refused(&signer, repo.request(Some(&first), 2, &half)).await;
    assert_eq!(reason, "EVIDENCE_INVALID");
    assert!(message.starts_with("bins-1: "), "{message}");
    let whole = evidence([("bins-0", bin_by(&new_key, 2, 30)), rotated, ("bins-1", bin_by(&new_key, 2, 30))]);
    let second = sign(&signer, repo.request(Some(&first), 2, &whole)).await.unwrap();

    // Flat: nobody delegates to the bins any more, and their names stay. When they come back, they go on above.
    let flat = evidence([("targets", repo.targets(3, "flat", &new_key))]);
    let dropped = evidence([("bins-0", bin_by(&new_key, 3, 30)), ("targets", repo.targets(3, "flat", &new_key))]);
    assert_eq!(refused(&signer, repo.request(Some(&second), 3, &dropped)).await.0, "WRONG_ROLE");
    let third = sign(&signer, repo.request(Some(&second), 3, &flat)).await.unwrap();
    assert_eq!(entry(&third, "bins-0"), entry(&second, "bins-0"));
    signer.stop().await;
    let signer = start(dir.path()).await;
    let older = repo.targets(4, "succinct:2", &new_key);
    let again = evidence([("targets", older.clone()), ("bins-0", bin_by(&new_key, 1, 30))]);
    assert_eq!(refused(&signer, repo.request(Some(&third), 4, &again)).await.0, "EVIDENCE_INVALID");
    let again = evidence([("targets", older), ("bins-0", bin_by(&new_key, 3, 30))]);
    let fourth = sign(&signer, repo.request(Some(&third), 4, &again)).await.unwrap();

    // A root that takes the offline key away: targets must be shown again, signed by the new one.
    let own = signer.public_key().await;
    let successor = holder();
    let next = root(2, &repo.root_key, [successor.public_key(), &own, repo.timestamp.public_key()]);
    let mut request = repo.request(Some(&fourth), 5, &Vec::new());
    let Part::Header(header) = &mut request[0] else { panic!("no header") };
    header.header.as_mut().unwrap().roots = vec![signed(&next, &[&repo.root_key])];
    let (reason, message) = refused(&signer, request).await;
    assert_eq!(reason, "EVIDENCE_INVALID");
    assert!(message.starts_with("targets: "), "{message}");
    let targets: Targets = Envelope::parse(&repo.targets(5, "succinct:2", &new_key)).unwrap().decode().unwrap();
    let shown = evidence([("targets", signed(&targets, &[&successor]))]);
    sign(&signer, repo.request(Some(&fourth), 5, &shown)).await.unwrap();
    signer.stop().await;
}

/// Only what changed is looked at where the base was made of all that is known, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_listed_whatever_the_base_says() {
    let dir = tempfile::tempdir().unwrap();
    let signer = hashing(dir.path(), 2).await;
    let (own, other, root_key) = (signer.public_key().await, holder(), holder());
    let (offline, bins, timestamp) = (holder(), holder(), holder());
    let mut repo = Repo { root_key, offline, bins, timestamp, root: Bytes::new() };
    repo.root = repo.shared_root(1, [&own, other.public_key()], 1);
    repo.pin(&signer).await;
    let first = sign(&signer, repo.request(None, 1, &repo.evidence())).await.unwrap();
    assert!(entry(&first, "bins-0").hashes.is_some());
    // More bins than are listed with digests: so it is for those that did not change too.
    let grown = ("targets", repo.targets(2, "succinct:4", &repo.bins));
    let grown = evidence([grown, ("bins-2", repo.bin(1)), ("bins-3", repo.bin(1))]);
    let second = sign(&signer, repo.request(Some(&first), 2, &grown)).await.unwrap();
    for bin in ["bins-0", "bins-3"] {
        assert_eq!(entry(&second, bin), MetaEntry::version_only(version(1)), "{bin}");
    }

    // The other one's snapshot lists what this one was not shown.
    let mut foreign = Snapshot { version: version(3), ..parsed(&second) };
    foreign.meta.insert("gone".parse().unwrap(), MetaEntry::version_only(version(7)));
    let third = signed(&foreign, &[&other]);
    let message = proto::LoadDocumentsRequest { document: Some(document("snapshot", &third)) };
    signer.client().load_documents(tokio_stream::iter([message])).await.unwrap();
    let changed = evidence([("bins-0", repo.bin(2))]);
    let fourth = sign(&signer, repo.request(Some(&third), 4, &changed)).await.unwrap();
    assert_eq!(["gone", "bins-0"].map(|role| entry(&fourth, role).version), [version(7), version(2)]);

    // When both must sign, one signature makes no base: what only such a snapshot lists stands in the next one too.
    let mut half = repo.request(Some(&fourth), 5, &evidence([("bins-1", repo.bin(2))]));
    let Part::Header(header) = &mut half[0] else { panic!("no header") };
    header.header.as_mut().unwrap().roots = vec![repo.shared_root(2, [&own, other.public_key()], 2)];
    sign(&signer, half).await.unwrap();
    let sixth = sign(&signer, repo.request(Some(&fourth), 6, &Vec::new())).await.unwrap();
    assert_eq!(["bins-0", "bins-1"].map(|role| entry(&sixth, role).version), [version(2), version(2)]);
    signer.stop().await;
}
