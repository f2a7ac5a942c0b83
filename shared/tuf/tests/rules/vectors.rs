//! The same inputs give the same results as securesystemslib and python-tuf (`data/generate.py` made the file).
use ed25519_dalek::SigningKey;
use rstuf_tuf::{
    Document, Envelope, PathPattern, PublicKey, RoleKeys, Root, Signature, Snapshot, SuccinctRoles, TargetPath,
    Targets, Timestamp, TopLevel, Unsigned, canonical, json, keys_by_id,
};
use serde_json::Value;

use crate::common::signed_part;

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/vectors.json")).unwrap()
}

fn key() -> (SigningKey, PublicKey) {
    let seed: [u8; 32] = hex::decode(vectors()["key"]["seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    let key = SigningKey::from_bytes(&seed);
    let public = PublicKey::from(&key.verifying_key());
    (key, public)
}

#[test]
fn canonical_form_is_that_of_securesystemslib() {
    for vector in vectors()["canonical"].as_array().unwrap() {
        let value = json::parse(vector["json"].as_str().unwrap().as_bytes()).unwrap();
        let canonical = String::from_utf8(canonical::to_vec(&value).unwrap()).unwrap();
        assert_eq!(canonical, vector["canonical"].as_str().unwrap(), "of {}", vector["json"]);
    }
}

#[test]
fn a_key_has_the_same_id() {
    let expected = vectors()["key"]["keyid"].as_str().unwrap().to_owned();
    let public = key().1;
    assert_eq!(public.key_id().to_string(), expected);
    assert_eq!(PublicKey::from_value(&public.to_value()).unwrap(), public);
    assert_eq!(PublicKey::ed25519(*public.as_ed25519().unwrap()).unwrap(), public);
}

#[test]
fn a_path_falls_into_the_same_succinct_bin() {
    let keys = RoleKeys::new(vec![key().1.key_id()], 1).unwrap();
    for vector in vectors()["bins"].as_array().unwrap() {
        let roles = SuccinctRoles::new(keys.clone(), vector["bits"].as_u64().unwrap(), "bins").unwrap();
        let bin = roles.role_for(&vector["path"].as_str().unwrap().parse().unwrap());
        assert_eq!(bin.as_str(), vector["role"].as_str().unwrap(), "of {vector}");
        assert!(roles.bin_of_name(&bin).is_some(), "{bin} is one of the bins");
    }
}

#[test]
fn a_pattern_covers_the_same_paths() {
    let vectors = vectors();
    for (glob, expected) in vectors["globs"].as_object().unwrap() {
        let pattern: PathPattern = glob.parse().unwrap();
        let paths = vectors["glob_paths"].as_array().unwrap().iter();
        let covered = paths.filter(|path| pattern.matches(&path.as_str().unwrap().parse::<TargetPath>().unwrap()));
        assert_eq!(covered.collect::<Vec<_>>(), expected.as_array().unwrap().iter().collect::<Vec<_>>(), "by {glob}");
    }
}

/// Reads, verifies, writes again: nothing is lost but the spec version's number, which is written 1.0.0.
fn read_back<T: Document>(name: &str) -> T {
    let bytes = vectors()["documents"][name].as_str().unwrap().to_owned().into_bytes();
    let (secret, public) = key();
    let role = RoleKeys::new(vec![public.key_id()], 1).unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!(envelope.verify(&keys_by_id([public.clone()]), &role).unwrap().len(), 1);
    assert_eq!(envelope.role_type(), T::TYPE);

    let document: T = envelope.decode().unwrap();
    let mut expected = serde_json::from_slice::<Value>(&bytes).unwrap()["signed"].take();
    expected["spec_version"] = "1.0.0".into();
    assert_eq!(signed_part(&document), expected);

    let unsigned = Unsigned::new(&document).unwrap();
    let bytes = unsigned.seal(vec![Signature::ed25519(&secret, unsigned.to_sign())]);
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap()["signed"], expected, "sealed bytes are plain JSON");
    Envelope::parse(&bytes).unwrap().verify(&keys_by_id([public]), &role).unwrap();
    document
}

#[test]
fn documents_of_python_tuf_are_read_verified_and_kept() {
    let root: Root = read_back("root");
    assert_eq!(root.role(TopLevel::Timestamp).threshold(), 1);
    assert!(root.unknown.contains_key("x-note"));

    let listed: Targets = read_back("targets");
    let delegations = listed.delegations.unwrap();
    let roles = |path: &str| delegations.matching(&path.parse().unwrap());
    assert_eq!(roles("apps/one"), [("apps".parse().unwrap(), true)]);
    assert_eq!(listed.targets.values().next().unwrap().custom().unwrap().as_map()["build"], 7);

    let succinct: Targets = read_back("targets-succinct");
    assert_eq!(succinct.delegations.unwrap().role_names().count(), 256);

    let snapshot: Snapshot = read_back("snapshot");
    assert_eq!(snapshot.meta["apps"].length, Some(77));
    let timestamp: Timestamp = read_back("timestamp");
    assert_eq!(timestamp.snapshot.version.get(), 1);
}
