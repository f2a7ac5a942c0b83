//! The rules that make the next document: nothing is lost, no version falls, nothing is published that says the same.
use std::collections::BTreeMap;

use proptest::prelude::*;
use rstuf_tuf::{
    Change, Delegations, Envelope, Error, Layout, MetaEntry, Outcome, Revision, RoleName, Sha256, Targets, Version,
    next_snapshot, next_targets, next_timestamp,
};

use crate::common::*;

fn revision(number: u32) -> Revision {
    Revision { base: None, version: version(number), expires: time(EXPIRES) }
}

fn add(text: &str, length: u64) -> Change {
    Change::Add { path: path(text), target: target(length) }
}

fn remove(text: &str) -> Change {
    Change::Remove { path: path(text) }
}

/// A base with delegations and with fields that are not known here, at three levels.
fn base() -> Targets {
    let layout: Layout = "prefix:2".parse().unwrap();
    let mut base = targets(7, &["a", "b"], layout.delegations(vec![public(TARGETS)], 1).unwrap());
    base.unknown.insert("x-kept".to_owned(), 1.into());
    let mut signed = signed_part(&base);
    signed["targets"]["a"]["x-kept"] = true.into();
    signed["delegations"]["roles"][1]["x-kept"] = "y".into();
    read::<Targets>(&signed).unwrap()
}

#[test]
fn changes_apply_in_order_and_never_fail() {
    use Outcome::*;
    let base = base();
    let changes =
        [add("a", 1), add("b", 9), add("c", 3), add("c", 3), remove("c"), remove("c"), remove("b"), add("d", 4)];
    let next = next_targets(&RoleName::targets(), Some(&base), &changes, &revision(9), false).unwrap();
    let outcomes: Vec<_> = next.outcomes.iter().collect();
    assert_eq!(outcomes, [Replaced, Replaced, Added, Unchanged, Removed, NotFound, Removed, Added]);
    let document = next.document.unwrap();
    assert_eq!(document.targets.keys().map(|path| path.as_str()).collect::<Vec<_>>(), ["a", "d"]);
    assert_eq!((&document.delegations, &document.unknown), (&base.delegations, &base.unknown), "copied from the base");
    assert!(signed_part(&document)["delegations"]["roles"][1]["x-kept"] == "y");

    let first = next_targets(&RoleName::targets(), None, [], &revision(1), false).unwrap().document.unwrap();
    assert_eq!((first.version, first.targets.len()), (Version::ONE, 0), "a role begins empty");
}

#[test]
fn no_document_says_what_its_base_says() {
    let base = base();
    for changes in [&[][..], &[add("b", 1)], &[remove("z")], &[add("z", 1), remove("z")], &[remove("b"), add("b", 1)]] {
        let next = next_targets(&RoleName::targets(), Some(&base), changes, &revision(8), false).unwrap();
        assert_eq!(next.document, None, "after {changes:?}");
        let renewed =
            next_targets(&RoleName::targets(), Some(&base), changes, &revision(8), true).unwrap().document.unwrap();
        assert_eq!((renewed.version.get(), renewed.targets), (8, base.targets.clone()));
    }
    let kept =
        next_targets(&RoleName::targets(), Some(&base), &[add("c", 1)], &revision(8), false).unwrap().document.unwrap();
    assert_eq!(signed_part(&kept)["targets"]["a"]["x-kept"], true, "fields not known here stay with their target");
}

#[test]
fn versions_only_rise() {
    let base = base();
    for number in [1, 6, 7] {
        let refused = next_targets(&RoleName::targets(), Some(&base), &[add("z", 1)], &revision(number), false);
        assert!(matches!(refused, Err(Error::Rollback { least, .. }) if least.get() == 8), "version {number}");
    }
    let last = Targets { version: Version::MAX, ..base };
    let exhausted = next_targets(&RoleName::targets(), Some(&last), [], &revision(8), true);
    assert!(matches!(exhausted, Err(Error::VersionsExhausted { .. })));
}

#[test]
fn a_snapshot_keeps_every_name_and_no_entry_falls_back() {
    let digest = |byte| Sha256([byte; 32]);
    let known = |number| MetaEntry::new(version(number), 10, digest(1));
    let base = snapshot(3, &[("targets", known(1)), ("bins-0", known(5))]);
    let changed = |role: &str, entry| next_snapshot(Some(&base), BTreeMap::from([(name(role), entry)]), &revision(4));

    let next = changed("bins-1", known(1)).unwrap();
    assert_eq!(next.meta.keys().map(RoleName::as_str).collect::<Vec<_>>(), ["bins-0", "bins-1", "targets"]);
    assert_eq!(changed("bins-0", known(6)).unwrap().meta["bins-0"].version.get(), 6);
    assert!(
        changed("bins-0", MetaEntry::version_only(version(5))).is_ok(),
        "what is said of a version may become less"
    );
    assert!(matches!(changed("bins-0", known(4)), Err(Error::Rollback { .. })));
    let other = MetaEntry::new(version(5), 10, digest(2));
    assert!(matches!(changed("bins-0", other), Err(Error::Contradiction { .. })), "one version, two contents");
    assert!(changed("root", known(1)).is_err() && changed("timestamp", known(1)).is_err());
    assert!(matches!(next_snapshot(Some(&base), BTreeMap::new(), &revision(3)), Err(Error::Rollback { .. })));
    let without_targets = next_snapshot(None, BTreeMap::from([(name("bins-0"), known(1))]), &revision(1));
    assert!(matches!(without_targets, Err(Error::NotListed { .. })));
}

#[test]
fn a_timestamp_names_its_snapshot_fully_and_never_an_older_one() {
    let known = MetaEntry::new(version(5), 10, Sha256([1; 32]));
    let base = next_timestamp(None, known.clone(), &revision(2)).unwrap();
    let next = |entry, number| next_timestamp(Some(&base), entry, &revision(number));
    assert_eq!(next(known.clone(), 3).unwrap().snapshot, known, "renewed");
    assert!(matches!(next(known.clone(), 2), Err(Error::Rollback { .. })));
    assert!(matches!(next(MetaEntry::new(version(4), 10, Sha256([1; 32])), 3), Err(Error::Rollback { .. })));
    assert!(matches!(next(MetaEntry::new(version(5), 11, Sha256([1; 32])), 3), Err(Error::Contradiction { .. })));
    assert!(matches!(next(MetaEntry::version_only(version(6)), 3), Err(Error::Missing { .. })));
}

/// All layouts; the numbers of bins include some that are no power of 16.
fn layout() -> impl Strategy<Value = Layout> {
    let bins = || (1_u32..=9).prop_map(|bits| 1 << bits);
    prop_oneof![
        Just("flat".to_owned()),
        bins().prop_map(|count| format!("succinct:{count}")),
        bins().prop_map(|count| format!("prefix:{count}")),
    ]
    .prop_map(|text| text.parse().unwrap())
}

#[test]
fn the_largest_layouts_are_whole() {
    for text in ["succinct:16384", "prefix:16384", "prefix:32"] {
        let layout: Layout = text.parse().unwrap();
        let delegations = layout.delegations(vec![public(TARGETS)], 1).unwrap().unwrap();
        assert!(delegations.role_names().eq(layout.online_roles()));
        let document = targets(1, &[], Some(delegations));
        let bytes = sealed(&document, &[TARGETS]);
        assert_eq!(Envelope::parse(&bytes).unwrap().decode::<Targets>().unwrap(), document, "{text}");
    }
    assert_eq!(Layout::default().to_string(), "succinct:256");
    assert!(Layout::default().delegations(vec![public(TARGETS)], 2).is_err(), "threshold above the number of keys");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_path_has_one_role_by_layout_and_by_delegations(
        layout in layout(),
        text in "[a-zé]{1,9}(/[a-z0-9.]{3,9}){0,3}",
    ) {
        let path = path(&text);
        let role = layout.role_for(&path);
        prop_assert_eq!(layout.to_string().parse::<Layout>().unwrap(), layout);
        prop_assert_eq!(&layout.online_roles()[layout.place_for(&path) as usize], &role);
        let delegations: Option<Delegations> = layout.delegations(vec![public(TARGETS)], 1).unwrap();
        if let Some(delegations) = delegations {
            prop_assert_eq!(delegations.matching(&path), vec![(role.clone(), false)], "bins don't overlap");
            prop_assert_eq!(delegations.role_for(&path), Some(role.clone()));
            let first = delegations.role_names().filter(|role| delegations.is_role_for(role, &path));
            prop_assert!(first.eq([role.clone()]));
            let covering = delegations.role_names().filter(|role| delegations.covers(role, &path));
            prop_assert_eq!(covering.collect::<Vec<_>>(), vec![role.clone()]);
            prop_assert!(delegations.role_keys(&role).is_some());
            prop_assert!(delegations.role_keys(&name("bins-0000000")).is_none());
        } else {
            prop_assert_eq!(role, RoleName::targets());
        }
    }

    #[test]
    fn any_changes_leave_what_they_do_not_name(
        before in prop::collection::btree_map("[a-f]", 0_u64..3, 0..6),
        changes in prop::collection::vec(("[a-f]", prop::option::of(0_u64..3)), 0..8),
    ) {
        let mut base = base();
        base.targets = before.iter().map(|(text, length)| (path(text), target(*length))).collect();
        let mut expected = before.clone();
        let mut applied = Vec::new();
        for (text, length) in &changes {
            match length {
                Some(length) => expected.insert(text.clone(), *length),
                None => expected.remove(text),
            };
            applied.push(length.map_or_else(|| remove(text), |length| add(text, length)));
        }
        let next = next_targets(&RoleName::targets(), Some(&base), &applied, &revision(8), false).unwrap();
        prop_assert_eq!(next.outcomes.len(), changes.len());
        prop_assert_eq!(next.document.is_none(), before == expected);
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(text, length)| (path(&text), target(length))).collect();
        let document = next.document.unwrap_or(base);
        prop_assert_eq!(&document.targets, &expected);
        let again = read::<Targets>(&signed_part(&document)).unwrap();
        prop_assert_eq!(again, document);
    }
}
