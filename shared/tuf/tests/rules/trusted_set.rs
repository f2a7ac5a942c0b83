//! The client's workflow under attack: rollback, mix and match, freeze, false keys, steps out of order.

use proptest::prelude::*;
use rstuf_tuf::{
    DelegatedRole, Delegations, Document, Envelope, Error, Layout, MetaEntry, Origin, Paths, RoleName, Root, Sha256,
    Snapshot, Targets, Timestamp, TopLevel, TrustedRoot, TrustedSet, Version, keys_by_id, verify_root_update,
};
use serde_json::Map;

use crate::common::*;

/// The key of the delegated role `apps`.
const APPS: u8 = 5;

/// One publication, as bytes.
#[derive(Clone)]
struct Published {
    root: Vec<u8>,
    targets: Vec<u8>,
    apps: Vec<u8>,
    snapshot: Vec<u8>,
    timestamp: Vec<u8>,
}

fn delegations() -> Delegations {
    let paths = Paths::Patterns(vec!["apps/*".parse().unwrap()]);
    let apps =
        DelegatedRole { name: name("apps"), keys: role(&[APPS], 1), terminating: true, paths, unknown: Map::new() };
    Delegations::list(keys_by_id([public(APPS)]), vec![apps]).unwrap()
}

impl Published {
    /// Every document has this version.
    fn version(number: u32) -> Self {
        let targets = sealed(&targets(number, &["a"], Some(delegations())), &[TARGETS]);
        let apps = sealed(&crate::common::targets(number, &["apps/one"], None), &[APPS]);
        let meta = [("targets", entry(&targets)), ("apps", entry(&apps))];
        Self::with(number, targets, apps, &snapshot(number, &meta))
    }

    fn with(number: u32, targets: Vec<u8>, apps: Vec<u8>, snapshot: &Snapshot) -> Self {
        let snapshot = sealed(snapshot, &[SNAPSHOT]);
        let timestamp = sealed(&timestamp(number, entry(&snapshot)), &[TIMESTAMP]);
        Self { root: sealed(&root(1, &[ROOT], 1), &[ROOT]), targets, apps, snapshot, timestamp }
    }

    fn walk(&self, set: &mut TrustedSet) -> Result<(), Error> {
        set.update_timestamp(&self.timestamp, now())?;
        set.update_snapshot(&self.snapshot, Origin::Repository, now())?;
        set.update_targets(&RoleName::targets(), &self.targets, &RoleName::root(), now())?;
        set.update_targets(&name("apps"), &self.apps, &RoleName::targets(), now())?;
        Ok(())
    }
}

/// A client that has an earlier publication in its cache.
fn client(cached: &Published) -> TrustedSet {
    let mut set = TrustedSet::new(&cached.root).unwrap();
    set.update_timestamp(&cached.timestamp, now()).unwrap();
    set
}

fn client_with_snapshot(cached: &Published, latest: &Published) -> Result<TrustedSet, Error> {
    let mut set = client(cached);
    // Cached, so it is loaded under the cached timestamp in a run of its own and then under the latest.
    set.update_timestamp(&latest.timestamp, now())?;
    match set.update_snapshot(&cached.snapshot, Origin::Cache, now()) {
        Ok(_) | Err(Error::VersionMismatch { .. }) => {}
        Err(error) => return Err(error),
    }
    set.update_snapshot(&latest.snapshot, Origin::Repository, now())?;
    Ok(set)
}

#[test]
fn a_client_follows_from_root_to_delegated_targets() {
    let (first, second) = (Published::version(1), Published::version(2));
    let mut set = TrustedSet::new(&first.root).unwrap();
    first.walk(&mut set).unwrap();
    assert!(set.targets(&name("apps")).unwrap().targets.contains_key("apps/one"));
    assert!(!client(&second).update_timestamp(&second.timestamp, now()).unwrap(), "the same timestamp is nothing new");
    let mut set = client_with_snapshot(&first, &second).unwrap();
    set.update_targets(&RoleName::targets(), &second.targets, &RoleName::root(), now()).unwrap();
    assert_eq!(set.snapshot().unwrap().version, version(2));

    let mut set = client(&first);
    let bins: Layout = "succinct:4".parse().unwrap();
    let delegating = sealed(&targets(2, &[], bins.delegations(vec![public(APPS)], 1).unwrap()), &[TARGETS]);
    let bin = sealed(&targets(1, &["a"], None), &[APPS]);
    let meta = [("targets", entry(&delegating)), ("apps", entry(&first.apps)), ("bins-3", entry(&bin))];
    let binned = Published::with(2, delegating, first.apps, &snapshot(2, &meta));
    let refused = binned.walk(&mut set);
    assert!(matches!(refused, Err(Error::NotDelegated { .. })), "apps is listed, but not delegated to any more");
    set.update_targets(&name("bins-3"), &bin, &RoleName::targets(), now()).unwrap();
}

#[test]
fn roots_follow_one_by_one_and_are_signed_by_both() {
    let first = sealed(&root(1, &[ROOT, 11], 2), &[ROOT, 11]);
    let good = sealed(&root(2, &[12], 1), &[ROOT, 11, 12]);
    let mut trusted = TrustedRoot::first(&first, Some(Sha256::of(&first))).unwrap();
    for (fault, bytes) in [
        ("not by the old threshold", sealed(&root(2, &[12], 1), &[ROOT, 12])),
        ("not by itself", sealed(&root(2, &[12], 1), &[ROOT, 11])),
        ("skips a version", sealed(&root(3, &[12], 1), &[ROOT, 11, 12])),
        ("the same version", first.clone()),
        ("another type", sealed(&targets(2, &[], None), &[ROOT, 11, 12])),
    ] {
        let before = trusted.clone();
        assert!(trusted.follow(&bytes).is_err(), "{fault}");
        assert_eq!(trusted, before, "an error changes nothing");
    }
    trusted.follow(&good).unwrap();
    assert_eq!((trusted.version().get(), trusted.repository()), (2, Sha256::of(&first)));

    assert!(matches!(TrustedRoot::first(&first, Some(Sha256([0; 32]))), Err(Error::DigestMismatch { .. })));
    assert!(matches!(TrustedRoot::first(&sealed(&root(1, &[ROOT], 1), &[9]), None), Err(Error::Threshold { .. })));
    assert!(matches!(TrustedRoot::first(&good, None), Err(Error::VersionMismatch { .. })));
    let last = Root { version: Version::MAX, ..root(1, &[ROOT], 1) };
    let refused = verify_root_update(&last, &Envelope::parse(&good).unwrap());
    assert!(matches!(refused, Err(Error::VersionsExhausted { .. })));

    // An intermediate root may have expired, the last one may not.
    let expired = Root { expires: now(), ..root(2, &[ROOT], 1) };
    let mut set = TrustedSet::new(&Published::version(1).root).unwrap();
    set.update_root(&sealed(&expired, &[ROOT])).unwrap();
    let refused = set.update_timestamp(&Published::version(1).timestamp, now());
    assert!(matches!(refused, Err(Error::Expired { role, .. }) if role == RoleName::root()));
    set.update_root(&sealed(&root(3, &[ROOT], 1), &[ROOT])).unwrap();
    assert!(set.update_timestamp(&Published::version(1).timestamp, now()).unwrap());
    assert!(matches!(set.update_root(&good), Err(Error::OutOfOrder { .. })));
}

#[test]
fn older_documents_are_refused() {
    let (first, second) = (Published::version(1), Published::version(2));
    let refused = client(&second).update_timestamp(&first.timestamp, now());
    assert!(matches!(refused, Err(Error::Rollback { role, .. }) if role == RoleName::timestamp()));

    let newer_timestamp = sealed(&timestamp(3, entry(&first.snapshot)), &[TIMESTAMP]);
    let refused = client(&second).update_timestamp(&newer_timestamp, now());
    assert!(matches!(refused, Err(Error::Rollback { role, .. }) if role == RoleName::snapshot()));

    let older_apps = snapshot(3, &[("targets", entry(&second.targets)), ("apps", entry(&first.apps))]);
    let rolled_back = Published::with(3, second.targets.clone(), first.apps.clone(), &older_apps);
    let refused = client_with_snapshot(&second, &rolled_back);
    assert!(matches!(refused, Err(Error::Rollback { role, .. }) if role == name("apps")));

    let without_apps = snapshot(3, &[("targets", entry(&second.targets))]);
    let dropped = Published::with(3, second.targets.clone(), second.apps.clone(), &without_apps);
    let refused = client_with_snapshot(&second, &dropped);
    assert!(matches!(refused, Err(Error::Vanished { role }) if role == name("apps")));

    let other_apps =
        snapshot(3, &[("targets", entry(&second.targets)), ("apps", MetaEntry::new(version(2), 1, Sha256([0; 32])))]);
    let contradicting = Published::with(3, second.targets.clone(), second.apps.clone(), &other_apps);
    assert!(matches!(client_with_snapshot(&second, &contradicting), Err(Error::Contradiction { .. })));
}

#[test]
fn documents_of_different_publications_do_not_mix() {
    let (first, second) = (Published::version(1), Published::version(2));
    let mixed = Published { snapshot: second.snapshot.clone(), ..first.clone() };
    assert!(matches!(mixed.walk(&mut TrustedSet::new(&first.root).unwrap()), Err(Error::DigestMismatch { .. })));
    let mixed = Published { targets: first.targets.clone(), ..second.clone() };
    assert!(matches!(mixed.walk(&mut TrustedSet::new(&first.root).unwrap()), Err(Error::DigestMismatch { .. })));
    let longer = Published { targets: [second.targets.as_slice(), b" "].concat(), ..second.clone() };
    assert!(matches!(longer.walk(&mut TrustedSet::new(&first.root).unwrap()), Err(Error::LengthMismatch { .. })));

    // With versions alone, the version tells.
    let version_two = || MetaEntry::version_only(version(2));
    let listed = snapshot(2, &[("targets", version_two()), ("apps", version_two())]);
    for (targets, apps) in [(&first.targets, &second.apps), (&second.targets, &first.apps)] {
        let mixed = Published::with(2, targets.clone(), apps.clone(), &listed);
        let refused = mixed.walk(&mut TrustedSet::new(&first.root).unwrap());
        assert!(matches!(refused, Err(Error::VersionMismatch { .. })));
    }
    Published::with(2, second.targets.clone(), second.apps, &listed).walk(&mut client(&first)).unwrap();
}

#[test]
fn expired_documents_are_refused_and_cached_ones_still_prevent_rollback() {
    fn expired<T: Document>(mut bytes: Vec<u8>, seeds: &[u8], expire: impl Fn(&mut T)) -> Vec<u8> {
        let mut document: T = Envelope::parse(&bytes).unwrap().decode().unwrap();
        expire(&mut document);
        bytes = sealed(&document, seeds);
        bytes
    }
    let good = Published::version(2);
    let walk = |published: &Published| published.walk(&mut TrustedSet::new(&good.root).unwrap());
    let of = |refused: Result<(), Error>| match refused {
        Err(Error::Expired { role, expires, now: at }) if expires <= at => role.to_string(),
        other => panic!("{other:?}"),
    };

    let timestamp = expired(good.timestamp.clone(), &[TIMESTAMP], |document: &mut Timestamp| document.expires = now());
    assert_eq!(of(walk(&Published { timestamp: timestamp.clone(), ..good.clone() })), "timestamp");
    let mut set = TrustedSet::new(&good.root).unwrap();
    set.update_timestamp(&timestamp, now()).unwrap_err();
    let refused = set.update_timestamp(&Published::version(1).timestamp, now());
    assert!(matches!(refused, Err(Error::Rollback { .. })), "an expired cached timestamp still counts");
    let refused = set.update_snapshot(&good.snapshot, Origin::Repository, now());
    assert_eq!(of(refused.map(drop)), "timestamp", "but leads no further");

    let mut old: Snapshot = Envelope::parse(&good.snapshot).unwrap().decode().unwrap();
    old.expires = now();
    assert_eq!(of(walk(&Published::with(2, good.targets.clone(), good.apps.clone(), &old))), "snapshot");
    let old_targets = expired(good.targets.clone(), &[TARGETS], |document: &mut Targets| document.expires = now());
    let listed = snapshot(2, &[("targets", entry(&old_targets)), ("apps", entry(&good.apps))]);
    assert_eq!(of(walk(&Published::with(2, old_targets, good.apps.clone(), &listed))), "targets");

    let mut set = TrustedSet::new(&good.root).unwrap();
    set.update_timestamp(&good.timestamp, now()).unwrap();
    let late = time(EXPIRES);
    assert!(matches!(set.update_snapshot(&good.snapshot, Origin::Repository, late), Err(Error::Expired { .. })));
}

#[test]
fn keys_of_one_role_sign_nothing_for_another() {
    let good = Published::version(1);
    let resign = |bytes: &[u8], role: TopLevel| {
        let envelope = Envelope::parse(bytes).unwrap();
        let others = [ROOT, TARGETS, SNAPSHOT, TIMESTAMP, APPS];
        match role {
            TopLevel::Timestamp => sealed(
                &envelope.decode::<Timestamp>().unwrap(),
                &others.map(|seed| if seed == TIMESTAMP { 99 } else { seed }),
            ),
            TopLevel::Snapshot => sealed(
                &envelope.decode::<Snapshot>().unwrap(),
                &others.map(|seed| if seed == SNAPSHOT { 99 } else { seed }),
            ),
            _ => sealed(
                &envelope.decode::<Targets>().unwrap(),
                &others.map(|seed| if seed == TARGETS { 99 } else { seed }),
            ),
        }
    };
    let mut set = TrustedSet::new(&good.root).unwrap();
    let refused = set.update_timestamp(&resign(&good.timestamp, TopLevel::Timestamp), now());
    assert!(matches!(refused, Err(Error::Threshold { valid: 0, .. })));
    let forged = resign(&good.snapshot, TopLevel::Snapshot);
    set.update_timestamp(&sealed(&timestamp(1, entry(&forged)), &[TIMESTAMP]), now()).unwrap();
    assert!(matches!(set.update_snapshot(&forged, Origin::Repository, now()), Err(Error::Threshold { valid: 0, .. })));

    let forged = resign(&good.targets, TopLevel::Targets);
    let listed = snapshot(1, &[("targets", entry(&forged)), ("apps", entry(&good.apps))]);
    let refused =
        Published::with(1, forged, good.apps.clone(), &listed).walk(&mut TrustedSet::new(&good.root).unwrap());
    assert!(matches!(refused, Err(Error::Threshold { valid: 0, .. })));
    let by_targets_key = sealed(&targets(1, &["apps/one"], None), &[TARGETS]);
    let listed = snapshot(1, &[("targets", entry(&good.targets)), ("apps", entry(&by_targets_key))]);
    let refused = Published::with(1, good.targets.clone(), by_targets_key, &listed)
        .walk(&mut TrustedSet::new(&good.root).unwrap());
    assert!(matches!(refused, Err(Error::Threshold { valid: 0, .. })), "the delegator's key is not the role's");
}

#[test]
fn steps_come_in_order_and_only_listed_roles_are_taken() {
    let good = Published::version(1);
    let mut set = TrustedSet::new(&good.root).unwrap();
    let out_of_order =
        |refused: Result<(), Error>| assert!(matches!(refused, Err(Error::OutOfOrder { .. })), "{refused:?}");
    let (root, top, apps) = (RoleName::root(), RoleName::targets(), name("apps"));
    out_of_order(set.update_snapshot(&good.snapshot, Origin::Repository, now()).map(drop));
    out_of_order(set.update_targets(&top, &good.targets, &root, now()).map(drop));
    set.update_timestamp(&good.timestamp, now()).unwrap();
    out_of_order(set.update_targets(&top, &good.targets, &root, now()).map(drop));
    set.update_snapshot(&good.snapshot, Origin::Repository, now()).unwrap();
    out_of_order(set.update_timestamp(&good.timestamp, now()).map(drop));
    out_of_order(set.update_targets(&apps, &good.apps, &top, now()).map(drop));
    let refused = set.update_targets(&apps, &good.apps, &root, now());
    assert!(matches!(refused, Err(Error::NotDelegated { .. })), "root delegates to nothing else");
    set.update_targets(&top, &good.targets, &root, now()).unwrap();
    out_of_order(set.update_snapshot(&good.snapshot, Origin::Repository, now()).map(drop));
    let refused = set.update_targets(&name("unlisted"), &good.apps, &top, now());
    assert!(matches!(refused, Err(Error::NotListed { .. })));
    assert!(matches!(set.update_targets(&top, &good.targets, &top, now()), Err(Error::NotDelegated { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever one byte of one document is changed into, the client takes it only if it means the same.
    #[test]
    fn a_changed_byte_is_never_trusted(which in 0_usize..5, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = Published::version(1);
        let mut changed = good.clone();
        let Published { root, timestamp, snapshot, targets, apps } = &mut changed;
        let document = [root, timestamp, snapshot, targets, apps].into_iter().nth(which).unwrap();
        let at = at.index(document.len());
        prop_assume!(document[at] != byte);
        document[at] = byte;
        let mut set = match TrustedSet::new(&changed.root) {
            Ok(set) => set,
            Err(_) => return Ok(()),
        };
        if changed.walk(&mut set).is_ok() {
            let mut expected = TrustedSet::new(&good.root).unwrap();
            good.walk(&mut expected).unwrap();
            prop_assert_eq!(set.root(), expected.root());
            prop_assert_eq!(set.timestamp(), expected.timestamp());
            prop_assert!(which <= 1, "what a digest names can't change at all");
        }
    }
}
