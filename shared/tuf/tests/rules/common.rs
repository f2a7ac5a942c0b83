//! A repository in miniature: one key a role, documents made by the crate's own rules.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use rstuf_tuf::{
    Delegations, Document, Envelope, Error, MetaEntry, PublicKey, RoleKeys, RoleName, Root, RootRoles, Signature,
    Snapshot, Target, TargetPath, Targets, Timestamp, Unsigned, Version, keys_by_id,
};
use serde_json::{Map, Value};

pub(crate) const ROOT: u8 = 1;
pub(crate) const TARGETS: u8 = 2;
pub(crate) const SNAPSHOT: u8 = 3;
pub(crate) const TIMESTAMP: u8 = 4;

/// Documents expire so many seconds after the epoch, unless a test says otherwise.
pub(crate) const EXPIRES: i64 = 2_000_000_000;

pub(crate) fn time(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

pub(crate) fn now() -> jiff::Timestamp {
    time(EXPIRES - 1)
}

pub(crate) fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

pub(crate) fn path(text: &str) -> TargetPath {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> RoleName {
    text.parse().unwrap()
}

pub(crate) fn secret(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> PublicKey {
    PublicKey::from(&secret(seed).verifying_key())
}

pub(crate) fn role(seeds: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys::new(seeds.iter().map(|seed| public(*seed).key_id()).collect(), threshold).unwrap()
}

pub(crate) fn sealed(document: &impl Document, seeds: &[u8]) -> Vec<u8> {
    let unsigned = Unsigned::new(document).unwrap();
    unsigned.seal(seeds.iter().map(|seed| Signature::ed25519(&secret(*seed), unsigned.to_sign())).collect())
}

/// The signed part of a document, to be altered and read again.
pub(crate) fn signed_part(document: &impl Document) -> Value {
    serde_json::from_slice::<Value>(&sealed(document, &[])).unwrap()["signed"].take()
}

/// Reads a signed part as it would come in a document.
pub(crate) fn read<T: Document>(signed: &Value) -> Result<T, Error> {
    let document = serde_json::to_vec(&serde_json::json!({ "signatures": [], "signed": signed })).unwrap();
    Envelope::parse(&document)?.decode()
}

pub(crate) fn entry(bytes: &[u8]) -> MetaEntry {
    MetaEntry::of(&Envelope::parse(bytes).unwrap())
}

pub(crate) fn root(number: u32, root_keys: &[u8], threshold: u32) -> Root {
    let seeds = [root_keys, &[TARGETS, SNAPSHOT, TIMESTAMP]].concat();
    let roles = RootRoles {
        root: role(root_keys, threshold),
        targets: role(&[TARGETS], 1),
        snapshot: role(&[SNAPSHOT], 1),
        timestamp: role(&[TIMESTAMP], 1),
        unknown: Map::new(),
    };
    let keys = keys_by_id(seeds.into_iter().map(public));
    Root { version: version(number), expires: time(EXPIRES), keys, roles, unknown: Map::new() }
}

pub(crate) fn targets(number: u32, paths: &[&str], delegations: Option<Delegations>) -> Targets {
    let targets = paths.iter().map(|text| (path(text), target(text.len() as u64)));
    Targets {
        version: version(number),
        expires: time(EXPIRES),
        role: None,
        targets: targets.collect(),
        delegations,
        unknown: Map::new(),
    }
}

pub(crate) fn target(length: u64) -> Target {
    Target::new(length, rstuf_tuf::Sha256::of(&length.to_be_bytes()).into(), None).unwrap()
}

pub(crate) fn snapshot(number: u32, meta: &[(&str, MetaEntry)]) -> Snapshot {
    let meta: BTreeMap<_, _> = meta.iter().map(|(role, entry)| (name(role), entry.clone())).collect();
    Snapshot { version: version(number), expires: time(EXPIRES), meta, unknown: Map::new() }
}

pub(crate) fn timestamp(number: u32, snapshot: MetaEntry) -> Timestamp {
    Timestamp { version: version(number), expires: time(EXPIRES), snapshot, unknown: Map::new() }
}
