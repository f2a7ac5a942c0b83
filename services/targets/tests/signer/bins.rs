//! Bins, and who decides about them.

use std::collections::BTreeMap;

use bytes::Bytes;
use rstuf_api::proto::tasks::v1::Outcome;
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_signing::testing::*;
use rstuf_tuf::{Envelope, Targets};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn bins_are_signed_together_replayed_and_never_twice() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let first_of_all = vec![role("bins-0", None, 1, vec![]), role("bins-1", None, 1, vec![])];
    let first = sign(&signer, repo.request("a", first_of_all)).await.unwrap();
    let own = signer.public_key().await;
    for (document, _) in first.values() {
        let envelope = Envelope::parse(document.as_ref().unwrap()).unwrap();
        assert!(own.verify(envelope.canonical(), &envelope.signatures()[0].sig));
    }
    let base = |role: &str| first[role].0.clone();

    // One role in two messages, one without an effect.
    let one = "one";
    let (own_role, other) = (repo.role_of(one), if repo.role_of(one) == "bins-0" { "bins-1" } else { "bins-0" });
    let mut more = role(&own_role, None, 2, vec![add(2, one, target(2)), remove(2, one), add(3, one, target(3))]);
    more.revision = None;
    let change = vec![
        role(&own_role, base(&own_role).as_deref(), 2, vec![add(1, one, target(1)), add(1, one, target(1))]),
        more,
        role(other, base(other).as_deref(), 2, vec![]),
    ];
    let request = repo.request("b", change.clone());
    let second = sign(&signer, request.clone()).await.unwrap();
    let (document, outcomes) = &second[&own_role];
    let expected = [Outcome::Added, Outcome::Unchanged, Outcome::Replaced, Outcome::Removed, Outcome::Added];
    assert_eq!(outcomes, &expected);
    assert_eq!(paths(document.as_ref().unwrap()), [one]);
    assert_eq!(second[other], (None, vec![]));
    let states = BTreeMap::from([(own_role.clone(), (2, 2)), (other.to_owned(), (1, 1)), ("targets".into(), (1, 0))]);
    assert_eq!(signer.role_states().await, states);
    signer.stop().await;

    let signer = start(dir.path()).await;
    // The same changes, cut into messages in another way, are the same request.
    let mut joined = change.clone();
    let rest = joined.remove(1);
    joined[0].changes.extend(rest.changes);
    for again in [request, repo.request("b", joined)] {
        assert_eq!(sign(&signer, again).await.unwrap(), second, "replayed after a restart");
    }
    // Another batch with the same version is refused, and takes no other role along.
    let other_role = role(other, base(other).as_deref(), 2, vec![]);
    let again = role(&own_role, base(&own_role).as_deref(), 2, vec![add(1, one, target(9))]);
    assert_eq!(refused(&signer, repo.request("c", vec![other_role, again])).await.name.as_str(), "VERSION_USED");
    let mut renewal = role(other, base(other).as_deref(), 2, vec![]);
    renewal.renew = true;
    let renewed = sign(&signer, repo.request("d", vec![renewal])).await.unwrap();
    assert!(renewed[other].0.is_some());
    signer.stop().await;
}

/// All bins have one key: each document says which bin it is of, and only by that proves anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_one_bin_is_none_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let bins = || ["bins-0", "bins-1"].map(|bin| role(bin, None, 1, vec![])).to_vec();
    let first = sign(&signer, repo.request("a", bins())).await.unwrap();
    let zero = first["bins-0"].0.clone().unwrap();
    let mut renewal = role("bins-0", Some(&zero), 2, vec![]);
    renewal.renew = true;
    let second = sign(&signer, repo.request("b", vec![renewal])).await.unwrap();
    let content: Targets = Envelope::parse(&zero).unwrap().decode().unwrap();
    assert_eq!(content.role, Some("bins-0".parse().unwrap()));
    for published in [&zero, second["bins-0"].0.as_ref().unwrap()] {
        assert_eq!(reason(&load(&signer, "bins-1", published).await.unwrap_err()), "EVIDENCE_INVALID");
    }
    // What says nothing of its role may list only paths of the role, and proves nothing of the key's past.
    let own_key = FileKey::open(&dir.path().join("key.pem"), None).unwrap();
    let path = (0..).map(|n| format!("p{n}")).find(|path| repo.role_of(path) == "bins-0").unwrap();
    let targets = BTreeMap::from([(path.parse().unwrap(), target(1))]);
    let silent = Targets { version: version(5), role: None, targets, ..content.clone() };
    assert_eq!(reason(&load(&signer, "bins-1", &signed(&silent, &[&own_key])).await.unwrap_err()), "EVIDENCE_INVALID");
    let silent = signed(&Targets { version: version(2), role: None, ..content.clone() }, &[&own_key]);
    load(&signer, "bins-1", &silent).await.unwrap();
    let honest = role("bins-1", Some(&silent), 3, vec![]);
    assert_eq!(sign(&signer, repo.request("c", vec![honest])).await.unwrap()["bins-1"].0, None, "not halted");
    // What names the role was signed by this key, and not with this state.
    let named = Targets { version: version(3), role: Some("bins-1".parse().unwrap()), ..content };
    assert_eq!(reason(&load(&signer, "bins-1", &signed(&named, &[&own_key])).await.unwrap_err()), "STATE_RESTORED");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_belong_to_the_offline_keys() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::new(&signer, "succinct:2").await;
    let stranger = holder();
    // A false pin: targets signed by somebody else, or delegating to somebody else alone, or missing.
    let parsed: Targets = Envelope::parse(&repo.targets).unwrap().decode().unwrap();
    let delegating_to = |key: &FileKey, number| Targets {
        version: version(number),
        delegations: repo.layout.delegations(vec![key.public_key().clone()], 1).unwrap(),
        ..parsed.clone()
    };
    let false_pins =
        [signed(&parsed, &[&stranger]), signed(&delegating_to(&stranger, 1), &[&repo.offline]), Bytes::new()];
    for targets in &false_pins {
        assert_eq!(reason(&pin(&signer, &repo.root, targets).await.unwrap_err()), "EVIDENCE_INVALID");
    }
    pin(&signer, &repo.root, &repo.targets).await.unwrap();
    let bin = role("bins-0", None, 1, vec![]);

    // Delegations of a stolen coordinator are not believed; nor does the signer sign targets itself.
    let stolen = signed(&delegating_to(&stranger, 2), &[&stranger]);
    assert_eq!(reason(&load(&signer, "targets", &stolen).await.unwrap_err()), "EVIDENCE_INVALID");
    let top_level = role("targets", Some(&repo.targets), 2, vec![]);
    for name in ["snapshot", "root", "bins-2", "other"] {
        let request = repo.request("a", vec![role("bins-0", None, 1, vec![]), role(name, None, 1, vec![])]);
        assert_eq!(refused(&signer, request).await.name.as_str(), "WRONG_ROLE", "{name}");
    }
    assert_eq!(refused(&signer, repo.request("a", vec![top_level])).await.name.as_str(), "WRONG_ROLE");
    let path = (0..).map(|n| format!("p{n}")).find(|path| repo.role_of(path) == "bins-1").unwrap();
    let foreign = role("bins-0", None, 1, vec![add(1, &path, target(1))]);
    assert_eq!(refused(&signer, repo.request("a", vec![foreign])).await.name.as_str(), "WRONG_ROLE");

    // What the holders sign is followed: the key is taken away, and nothing is signed.
    sign(&signer, repo.request("b", vec![bin])).await.unwrap();
    load(&signer, "targets", &signed(&delegating_to(&stranger, 2), &[&repo.offline])).await.unwrap();
    assert_eq!(reason(&load(&signer, "targets", &repo.targets).await.unwrap_err()), "EVIDENCE_INVALID", "an older one");
    let bin = role("bins-1", None, 1, vec![]);
    assert_eq!(refused(&signer, repo.request("c", vec![bin])).await.name.as_str(), "WRONG_ROLE");
    signer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bins_there_can_be_are_signed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "prefix:4096").await;
    let roles = repo.layout.online_roles().iter().map(|name| role(name.as_str(), None, 1, vec![])).collect();
    let request = repo.request("all", roles);
    let first = sign(&signer, request.clone()).await.unwrap();
    assert_eq!(first.len(), 4096);
    signer.stop().await;
    let signer = start(dir.path()).await;
    assert_eq!(sign(&signer, request).await.unwrap(), first);
    signer.stop().await;
}
