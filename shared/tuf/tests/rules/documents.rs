//! Documents as received: what is refused, who signed, what is kept.

use proptest::prelude::*;
use rstuf_tuf::{
    DOCUMENT_BYTES_MAX, DelegatedRole, Delegations, Document, Envelope, Error, MetaEntry, Paths, PublicKey, Root,
    Sha256, Signature, Snapshot, Targets, Timestamp, TopLevel, Unsigned, keys_by_id,
};
use serde_json::{Map, Value, json};

use crate::common::*;

/// Changes one field (a JSON pointer) of a document; null takes it away.
fn altered(document: &impl Document, pointer: &str, value: Value) -> Value {
    let mut signed = signed_part(document);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let object = signed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    let field = field.replace("~1", "/");
    if value.is_null() {
        object.remove(&field)
    } else {
        object.insert(field, value)
    };
    signed
}

fn refuses<T: Document + std::fmt::Debug>(document: &T, faults: &[(&str, Value)]) {
    assert!(read::<T>(&signed_part(document)).is_ok());
    for (pointer, value) in faults {
        let refused = read::<T>(&altered(document, pointer, value.clone()));
        assert!(refused.is_err(), "{pointer} = {value} was read");
    }
}

#[test]
fn every_field_is_checked_where_it_enters() {
    let header = [
        ("/_type", json!("mirrors")),
        ("/_type", json!("Targets")),
        ("/_type", json!(null)),
        ("/spec_version", json!("2.0.0")),
        ("/spec_version", json!("1")),
        ("/spec_version", json!("1.0.x")),
        ("/version", json!(0)),
        ("/version", json!(-1)),
        ("/version", json!("1")),
        ("/version", json!(2_147_483_648_u32)),
        ("/version", json!(1.0)),
        ("/version", json!(null)),
        ("/expires", json!("2030-01-01T00:00:00.0Z")),
        ("/expires", json!("2030-01-01T00:00:00+00:00")),
        ("/expires", json!("2030-01-01 00:00:00Z")),
        ("/expires", json!("2030-02-30T00:00:00Z")),
        ("/expires", json!("2030-01-01T23:59:60Z")),
        ("/expires", json!("2030-01-01T24:00:00Z")),
        ("/expires", json!("-030-01-01T00:00:00Z")),
        ("/expires", json!(1_893_456_000)),
    ];
    let root = root(1, &[ROOT], 1);
    refuses(&root, &header);
    refuses(
        &root,
        &[
            ("/consistent_snapshot", json!(false)),
            ("/consistent_snapshot", json!(null)),
            ("/keys", json!({})),
            ("/keys", json!([])),
            ("/roles/root", json!(null)),
            ("/roles/root/threshold", json!(0)),
            ("/roles/root/threshold", json!(2)),
            ("/roles/root/keyids", json!([])),
            ("/roles/root/keyids", json!(["00".repeat(32)])),
            ("/roles/root/keyids", json!([public(ROOT).key_id(), public(ROOT).key_id()])),
        ],
    );

    let named = Delegations::list(
        keys_by_id([public(5)]),
        vec![delegated("apps", Paths::Patterns(vec!["*".parse().unwrap()]))],
    );
    let listed = targets(1, &["a"], Some(named.unwrap()));
    refuses(&listed, &header);
    refuses(
        &listed,
        &[
            ("/targets", json!(null)),
            ("/targets", json!([])),
            ("/targets/..~1a", json!({})),
            ("/targets/a/length", json!(-1)),
            ("/targets/a/length", json!(9_007_199_254_740_992_u64)),
            ("/targets/a/length", json!(1.5)),
            ("/targets/a/hashes", json!({})),
            ("/targets/a/hashes/sha256", json!("0F".repeat(32))),
            ("/targets/a/hashes/sha256", json!(null)),
            ("/targets/a/custom", json!({})),
            ("/targets/a/custom", json!("x")),
            ("/delegations", json!([])),
            ("/delegations/keys", json!({})),
            ("/delegations/roles", json!(null)),
            ("/delegations/succinct_roles", json!({})),
            ("/delegations/roles", json!([{}])),
        ],
    );
    for (field, value) in [
        ("name", json!("Root")),
        ("name", json!("targets")),
        ("terminating", json!(1)),
        ("paths", json!(["/*"])),
        ("path_hash_prefixes", json!(["0"])),
        ("threshold", json!(9)),
    ] {
        let mut signed = signed_part(&listed);
        signed["delegations"]["roles"][0][field] = value;
        assert!(read::<Targets>(&signed).is_err(), "role with {field}");
    }

    let snapshot = snapshot(1, &[("targets", MetaEntry::version_only(version(1)))]);
    refuses(&snapshot, &header);
    let entry = json!({ "version": 1 });
    refuses(
        &snapshot,
        &[
            ("/meta", json!({})),
            ("/meta/targets.json", json!(null)),
            ("/meta/targets.json/version", json!(0)),
            ("/meta/root.json", entry.clone()),
            ("/meta/Apps.json", entry.clone()),
            ("/meta/apps", entry.clone()),
            ("/meta/1.json", entry.clone()),
            ("/meta/..~1a.json", entry.clone()),
            ("/meta/targets.json/length", json!(-1)),
            ("/meta/targets.json/hashes", json!({ "sha256": 1 })),
        ],
    );
    let timestamp = timestamp(1, MetaEntry::version_only(version(1)));
    refuses(&timestamp, &header);
    refuses(
        &timestamp,
        &[("/meta", json!({})), ("/meta/targets.json", entry), ("/meta/snapshot.json/version", json!(null))],
    );
}

fn delegated(role_name: &str, paths: Paths) -> DelegatedRole {
    DelegatedRole { name: name(role_name), keys: role(&[5], 1), terminating: false, paths, unknown: Map::new() }
}

#[test]
fn errors_say_where_what_and_what_is_allowed() {
    let fault =
        |pointer, value| read::<Targets>(&altered(&targets(1, &["a"], None), pointer, value)).unwrap_err().to_string();
    assert_eq!(fault("/targets/a/length", json!(-1)), "targets.a.length is \"-1\", allowed: an integer, 0 or above");
    assert_eq!(fault("/targets/a/hashes", json!({})), "targets.a.hashes.sha256 is missing");
    assert_eq!(fault("/version", json!(0)), "version is \"0\", allowed: 1 to 2147483647");
    for (pointer, value) in [
        ("/targets/a\nb", json!({})),
        ("/targets/a/hashes/a\nb", json!(1)),
        ("/delegations", json!({ "keys": { "a\nb": 1 } })),
    ] {
        let error = fault(pointer, value);
        assert!(!error.contains('\n'), "no line breaks from a document in {error:?}");
    }
    let error = "x\r\ny".repeat(99).parse::<rstuf_tuf::RoleName>().unwrap_err().to_string();
    assert!(error.len() < 250 && !error.contains('\n'), "{error}");
}

#[test]
fn delegations_are_asked_in_order_until_one_terminates() {
    let patterns = |texts: &[&str]| Paths::Patterns(texts.iter().map(|text| text.parse().unwrap()).collect());
    let prefixes = |texts: &[&str]| Paths::HashPrefixes(texts.iter().map(|text| text.parse().unwrap()).collect());
    let all_digits: Vec<String> = (0..16).map(|digit| format!("{digit:x}")).collect();
    let every = prefixes(&all_digits.iter().map(String::as_str).collect::<Vec<_>>());
    let last = DelegatedRole { terminating: true, ..delegated("last", every.clone()) };
    // sha256("a") begins with ca97.
    let roles = vec![
        delegated("none", patterns(&["b", "a/*"])),
        delegated("short", prefixes(&["0", "ca"])),
        delegated("glob", patterns(&["b", "?"])),
        delegated("long", prefixes(&["ca97", "c"])),
        last,
        delegated("after", every),
    ];
    let delegations = Delegations::list(keys_by_id([public(5)]), roles.clone()).unwrap();
    let names: Vec<_> = delegations.matching(&path("a")).into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["short", "glob", "long", "last"]);
    assert_eq!(delegations.role_for(&path("a/x")).unwrap().as_str(), "none");
    assert!(delegations.covers(&name("after"), &path("a")) && !delegations.covers(&name("none"), &path("a")));

    let twice = vec![roles[0].clone(), roles[0].clone()];
    assert!(Delegations::list(keys_by_id([public(5)]), twice).is_err(), "a name twice");
    assert!(Delegations::list(keys_by_id([]), roles).is_err(), "keys that are not listed");
}

#[test]
fn a_threshold_counts_distinct_keys_of_the_role() {
    let document = targets(1, &["a"], None);
    let keys = keys_by_id([public(1), public(2), public(3), public(9)]);
    let role = role(&[1, 2, 3], 2);
    let verify = |bytes: &[u8]| Envelope::parse(bytes)?.verify(&keys, &role);

    assert_eq!(verify(&sealed(&document, &[1, 3])).unwrap(), [public(1).key_id(), public(3).key_id()].into());
    for (signers, valid) in [(&[][..], 0), (&[1], 1), (&[1, 9], 1), (&[9, 8], 0), (&[1, 1], 1)] {
        let expected = Error::Threshold { document: TopLevel::Targets, valid, threshold: 2 };
        assert_eq!(verify(&sealed(&document, signers)).unwrap_err(), expected, "signed by {signers:?}");
    }

    let unsigned = Unsigned::new(&document).unwrap();
    let good = Signature::ed25519(&secret(1), unsigned.to_sign());
    let stolen = Signature { keyid: public(2).key_id(), sig: good.sig.clone() };
    assert!(verify(&unsigned.seal(vec![good.clone(), stolen])).is_err(), "another key's signature");
    let short = Signature { keyid: public(2).key_id(), sig: vec![0; 63] };
    assert!(verify(&unsigned.seal(vec![good.clone(), short])).is_err());

    let bytes = String::from_utf8(unsigned.seal(vec![good.clone()])).unwrap();
    let one = &bytes["{\"signatures\":[".len()..bytes.find(']').unwrap()];
    let twice = bytes.replacen(one, &format!("{one},{one}"), 1);
    assert!(verify(twice.as_bytes()).unwrap_err().to_string().contains("every key id once"));
    for tampered in [bytes.replace("\"version\":1", "\"version\":2"), bytes.replace("2033", "2034")] {
        assert!(matches!(verify(tampered.as_bytes()), Err(Error::Threshold { valid: 0, .. })));
    }
}

#[test]
fn one_key_under_two_ids_counts_once() {
    let mut value = public(1).to_value();
    value["x-alias"] = true.into();
    let alias = PublicKey::from_value(&value).unwrap();
    assert_ne!(alias.key_id(), public(1).key_id());
    let role = rstuf_tuf::RoleKeys::new(vec![public(1).key_id(), alias.key_id()], 2).unwrap();
    let unsigned = Unsigned::new(&targets(1, &[], None)).unwrap();
    let signature = Signature::ed25519(&secret(1), unsigned.to_sign());
    let bytes = unsigned.seal(vec![Signature { keyid: alias.key_id(), ..signature.clone() }, signature]);
    let refused = Envelope::parse(&bytes).unwrap().verify(&keys_by_id([public(1), alias]), &role);
    assert!(matches!(refused, Err(Error::Threshold { valid: 1, .. })));
}

#[test]
fn a_key_listed_under_a_foreign_id_is_refused() {
    let mut signed = signed_part(&root(1, &[ROOT], 1));
    let (root_key, targets_key) = (public(ROOT).key_id().to_string(), public(TARGETS).key_id().to_string());
    signed["keys"][&targets_key] = signed["keys"][&root_key].clone();
    assert!(matches!(read::<Root>(&signed), Err(Error::KeyIdMismatch { .. })));
}

#[test]
fn documents_are_read_strictly_and_verified_as_received() {
    let bytes = sealed(&targets(1, &["a"], None), &[1]);
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!((envelope.length(), envelope.sha256()), (bytes.len() as u64, Sha256::of(&bytes)));
    assert!(matches!(envelope.decode::<Snapshot>(), Err(Error::WrongType { .. })));

    // White space and order do not matter to the signature, as it is over the canonical form of what was received.
    let pretty = format!("{:#}", serde_json::from_slice::<Value>(&bytes).unwrap());
    Envelope::parse(pretty.as_bytes()).unwrap().verify(&keys_by_id([public(1)]), &role(&[1], 1)).unwrap();

    let text = String::from_utf8(bytes).unwrap();
    let doubled = text.replacen("\"version\":1", "\"version\":1,\"version\":1", 1);
    let trailing = text.clone() + "{}";
    for bad in [
        doubled.as_str(),
        &trailing,
        "[]",
        "{}",
        "{\"signed\":{}}",
        "{\"signatures\":[]}",
        "{\"signatures\":{},\"signed\":{}}",
    ] {
        assert!(Envelope::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(matches!(Envelope::parse(&vec![b' '; DOCUMENT_BYTES_MAX + 1]), Err(Error::TooLarge { .. })));
}

#[test]
fn sub_second_expiries_are_cut_and_control_characters_survive() {
    let mut document = targets(1, &["a"], None);
    document.expires = "2030-01-01T00:00:00.999Z".parse().unwrap();
    let custom = rstuf_tuf::Custom::from_json(br#"{"note":"line\n\u0000\"\\"}"#).unwrap();
    let target = rstuf_tuf::Target::new(0, Sha256([7; 32]).into(), Some(custom.clone())).unwrap();
    document.targets.insert(path("b"), target);
    let bytes = sealed(&document, &[1]);
    let envelope = Envelope::parse(&bytes).unwrap();
    envelope.verify(&keys_by_id([public(1)]), &role(&[1], 1)).unwrap();
    let read: Targets = envelope.decode().unwrap();
    assert_eq!(read.expires.to_string(), "2030-01-01T00:00:00Z");
    assert_eq!(read.targets["b"].custom().unwrap(), &custom);
    assert_eq!(custom.to_json(), r#"{"note":"line\n\u0000\"\\"}"#);
}

#[test]
fn no_document_is_made_that_could_not_be_read() {
    let mut document = targets(1, &[], None);
    // Escaped as JSON, the control characters take six bytes each.
    let fill = |characters: usize| Map::from_iter([("x".to_owned(), Value::from("\u{1}".repeat(characters)))]);
    document.unknown = fill(DOCUMENT_BYTES_MAX / 6 - 11_000);
    Envelope::parse(&sealed(&document, &[1, 2, 3])).unwrap();
    document.unknown = fill(DOCUMENT_BYTES_MAX / 6);
    assert!(matches!(Unsigned::new(&document), Err(Error::TooLarge { .. })));
}

/// Fields that a later specification might add, anywhere but under names that are known.
fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        any::<i32>().prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
        Just(json!({ "b": [null, true] }))
    ];
    prop::collection::btree_map("x-[a-z]{1,3}", value, 0..3).prop_map(|map| map.into_iter().collect())
}

fn with(signed: &mut Value, pointer: &str, unknown: &Map<String, Value>) {
    signed.pointer_mut(pointer).unwrap().as_object_mut().unwrap().extend(unknown.clone());
}

fn kept<T: Document>(signed: &Value) -> bool {
    signed_part(&read::<T>(signed).unwrap()) == *signed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_not_understood_is_kept(a in unknown(), b in unknown(), c in unknown(), number in 1_u32..=2_147_483_647) {
        let mut signed = signed_part(&root(number, &[ROOT], 1));
        with(&mut signed, "", &a);
        with(&mut signed, "/roles", &b);
        prop_assert!(kept::<Root>(&signed));

        let layout: rstuf_tuf::Layout = if number % 2 == 0 { "prefix:4" } else { "succinct:4" }.parse().unwrap();
        let mut signed = signed_part(&targets(number, &["a", "b/c"], layout.delegations(vec![public(5)], 1).unwrap()));
        with(&mut signed, "", &a);
        with(&mut signed, "/targets/a", &b);
        with(&mut signed, "/delegations", &c);
        with(&mut signed, if number % 2 == 0 { "/delegations/roles/3" } else { "/delegations/succinct_roles" }, &a);
        prop_assert!(kept::<Targets>(&signed));

        let entry = MetaEntry::new(version(number), u64::from(number), Sha256::of(b""));
        let mut signed = signed_part(&snapshot(number, &[("targets", entry.clone()), ("apps", entry.clone())]));
        with(&mut signed, "", &c);
        with(&mut signed, "/meta/apps.json", &a);
        prop_assert!(kept::<Snapshot>(&signed));

        let mut signed = signed_part(&timestamp(number, entry));
        with(&mut signed, "/meta/snapshot.json", &b);
        prop_assert!(kept::<Timestamp>(&signed));
    }
}
