//! A small repository, made with the rules of `rstuf_tuf` and keys of fixed seeds.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use jiff::{Timestamp as Time, ToSpan};
use rstuf_tuf::{
    Document, Envelope, Hashes, MetaEntry, PublicKey, Revision, RoleKeys, RoleName, Root, RootRoles, Sha256, Signature,
    Target, TargetPath, Targets, Unsigned, Version, keys_by_id, next_snapshot, next_timestamp,
};

/// The time at which every repository begins.
pub fn start() -> Time {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn public(key: &SigningKey) -> PublicKey {
    PublicKey::from(&key.verifying_key())
}

pub fn role_keys(key: &SigningKey) -> RoleKeys {
    RoleKeys::new(vec![public(key).key_id()], 1).unwrap()
}

pub fn sign(document: &impl Document, keys: &[&SigningKey]) -> Vec<u8> {
    let unsigned = Unsigned::new(document).unwrap();
    unsigned.seal(keys.iter().map(|key| Signature::ed25519(key, unsigned.to_sign())).collect())
}

pub fn target(content: &[u8]) -> Target {
    Target::new(content.len() as u64, Hashes::sha256(Sha256::of(content)), None).unwrap()
}

pub fn path(text: &str) -> TargetPath {
    text.parse().unwrap()
}

/// A repository whose files are in a map, as they would stand in its directory of metadata.
pub struct Repository {
    pub root: Root,
    pub root_key: SigningKey,
    pub targets_key: SigningKey,
    pub snapshot_key: SigningKey,
    pub timestamp_key: SigningKey,
    /// Signs every delegated role.
    pub delegated_key: SigningKey,
    pub roles: BTreeMap<RoleName, Targets>,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Version of snapshot and timestamp.
    pub version: u32,
    pub now: Time,
    snapshot: Option<rstuf_tuf::Snapshot>,
}

impl Repository {
    /// Root 1 and empty targets; nothing is published yet.
    pub fn new() -> Self {
        let [root_key, targets_key, snapshot_key, timestamp_key, delegated_key] = [1, 2, 3, 4, 5].map(key);
        let root = Root {
            version: Version::ONE,
            expires: start() + (365 * 24).hours(),
            keys: keys_by_id([&root_key, &targets_key, &snapshot_key, &timestamp_key].map(public)),
            roles: RootRoles {
                root: role_keys(&root_key),
                targets: role_keys(&targets_key),
                snapshot: role_keys(&snapshot_key),
                timestamp: role_keys(&timestamp_key),
                unknown: Default::default(),
            },
            unknown: Default::default(),
        };
        let files = BTreeMap::from([("1.root.json".to_owned(), sign(&root, &[&root_key]))]);
        let mut this = Self {
            root,
            root_key,
            targets_key,
            snapshot_key,
            timestamp_key,
            delegated_key,
            roles: BTreeMap::new(),
            files,
            version: 0,
            now: start(),
            snapshot: None,
        };
        this.change(RoleName::targets(), |_| {});
        this
    }

    pub fn first_root(&self) -> Vec<u8> {
        self.files["1.root.json"].clone()
    }

    /// Makes the next version of a targets role.
    pub fn change(&mut self, role: RoleName, change: impl FnOnce(&mut Targets)) {
        let expires = self.now + (30 * 24).hours();
        let targets = self.roles.entry(role.clone()).or_insert_with(|| Targets {
            version: Version::ONE,
            expires,
            role: None,
            targets: BTreeMap::new(),
            delegations: None,
            unknown: Default::default(),
        });
        let name = format!("{}.{role}.json", targets.version);
        if self.files.contains_key(&name) {
            targets.version = targets.version.next().unwrap();
        }
        targets.expires = expires;
        change(targets);
        let key = if role == RoleName::targets() { &self.targets_key } else { &self.delegated_key };
        self.files.insert(format!("{}.{role}.json", targets.version), sign(targets, &[key]));
    }

    /// Lists a target in a role.
    pub fn add(&mut self, role: RoleName, at: &str, content: &[u8]) {
        self.change(role, |targets| {
            targets.targets.insert(path(at), target(content));
        });
    }

    /// Makes the next root.
    pub fn change_root(&mut self, keys: &[&SigningKey], change: impl FnOnce(&mut Root)) {
        self.root.version = self.root.version.next().unwrap();
        change(&mut self.root);
        self.files.insert(format!("{}.root.json", self.root.version), sign(&self.root, keys));
    }

    /// Publishes all roles with the next snapshot (valid for 7 days) and timestamp (1 day).
    pub fn publish(&mut self) {
        self.version += 1;
        let version = Version::new(self.version).unwrap();
        let meta = self.roles.iter().map(|(role, targets)| {
            let envelope = Envelope::parse(&self.files[&format!("{}.{role}.json", targets.version)]).unwrap();
            (role.clone(), MetaEntry::of(&envelope))
        });
        let revision = Revision { base: None, version, expires: self.now + (7 * 24).hours() };
        let snapshot = next_snapshot(self.snapshot.as_ref(), meta.collect(), &revision).unwrap();
        let bytes = sign(&snapshot, &[&self.snapshot_key]);
        let entry = MetaEntry::of(&Envelope::parse(&bytes).unwrap());
        let revision = Revision { base: None, version, expires: self.now + 24.hours() };
        let timestamp = next_timestamp(None, entry, &revision).unwrap();
        self.files.insert(format!("{version}.snapshot.json"), bytes);
        self.files.insert("timestamp.json".to_owned(), sign(&timestamp, &[&self.timestamp_key]));
        self.snapshot = Some(snapshot);
    }
}
