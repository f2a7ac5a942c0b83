//! What a signer remembers, in memory and as rows of its store.
//!
//! | row | holds |
//! |---|---|
//! | `key` | id of the key made in this state directory |
//! | `root/NUMBER` | exact bytes of each trusted root, from root 1 on |
//! | `delegator` | exact bytes of the trusted top-level targets document, where it delegates |
//! | `role/NAME` | base, last own signature and last answer of a role |
//! | `body/NAME/VERSION-DIGEST` | exact bytes of such a document |
//! | `answer/DIGEST` | the answer to the request with this digest |
//! | `seen` | highest time at which something was signed |
//! | `halted` | what proved that this state is older than what the key signed |
//!
//! Bodies are written first, in as many batches as keep memory flat; one batch then changes everything that refers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use rstuf_api::convert::DocumentRef;
use rstuf_store::{Batch, Store};
use rstuf_tuf::{Envelope, Outcome, RoleName, Sha256, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Trust};

pub(crate) const KEY: &str = "key";
pub(crate) const ROOTS: &str = "root/";
/// The row of the top-level targets document that delegates.
pub const DELEGATOR: &str = "delegator";
pub(crate) const ROLES: &str = "role/";
pub(crate) const BODIES: &str = "body/";
pub(crate) const SEEN: &str = "seen";
pub(crate) const HALTED: &str = "halted";

/// Rows read at a time.
const PAGE_ROWS: usize = 4096;

/// One exact document that the signer knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its version.
    pub version: Version,
    /// Digest of its exact bytes.
    pub sha256: Sha256,
    /// Length of its exact bytes.
    pub length: u64,
    /// When it expires, seconds since 1970-01-01T00:00:00Z.
    pub expires: i64,
}

impl Known {
    /// Names a received document.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Known {
        Known {
            version: envelope.version(),
            sha256: envelope.sha256(),
            length: envelope.length(),
            expires: envelope.expires().as_second(),
        }
    }

    /// The same as a reference with its role.
    #[must_use]
    pub fn reference(&self, role: &RoleName) -> DocumentRef {
        DocumentRef { role: role.clone(), version: self.version, sha256: self.sha256, length: self.length }
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        Timestamp::from_second(self.expires).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "version {} ({})", self.version, self.sha256)
    }
}

/// What a signer knows of one role. Neither the base's version nor the watermark ever falls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleState {
    /// The highest threshold-signed document seen.
    pub base: Option<Known>,
    /// The last document that the own key signed; usually the base.
    pub signed: Option<Known>,
    /// The request that was answered last for this role.
    pub answer: Option<Sha256>,
}

impl RoleState {
    /// The highest version that the own key ever signed.
    #[must_use]
    pub fn watermark(&self) -> Option<Version> {
        self.signed.as_ref().map(|signed| signed.version)
    }

    fn bodies(&self, role: &RoleName) -> impl Iterator<Item = String> {
        let known = [&self.base, &self.signed].into_iter().flatten();
        known.map(|known| body_row(role, known)).collect::<BTreeSet<_>>().into_iter()
    }
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerRow {
    pub roles: Vec<RoleAnswerRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleAnswerRow {
    pub role: RoleName,
    /// What was signed, if anything was.
    pub document: Option<Known>,
    /// One letter for each change.
    pub outcomes: String,
}

const OUTCOMES: [(Outcome, char); 5] = [
    (Outcome::Added, 'a'),
    (Outcome::Replaced, 'r'),
    (Outcome::Unchanged, 'u'),
    (Outcome::Removed, 'd'),
    (Outcome::NotFound, 'n'),
];

pub(crate) fn write_outcomes(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| OUTCOMES.iter().find(|(known, _)| known == outcome).map(|(_, letter)| *letter);
    outcomes.iter().filter_map(letter).collect()
}

pub(crate) fn read_outcomes(text: &str) -> Result<Vec<Outcome>> {
    let outcome = |letter: char| OUTCOMES.iter().find(|(_, known)| *known == letter).map(|(outcome, _)| *outcome);
    let outcomes = text.chars().map(|letter| outcome(letter).ok_or_else(|| corrupt("an answer", "unknown outcome")));
    outcomes.collect()
}

/// Everything that one signer remembers; `M` is what its kind remembers besides.
#[derive(Debug)]
pub struct State<M> {
    /// The roots and delegations trusted; none while not pinned.
    pub trust: Option<Trust>,
    /// By role.
    pub roles: BTreeMap<RoleName, RoleState>,
    /// The highest time at which something was signed.
    pub seen: Option<Timestamp>,
    /// What proved that this state is older than what the key signed; nothing is signed any more then.
    pub halted: Option<String>,
    /// What this kind of signer remembers besides.
    pub memory: M,
}

impl<M> State<M> {
    pub(crate) fn load(store: &Store, memory: M) -> Result<State<M>> {
        let mut roles = BTreeMap::new();
        each_row(store, ROLES, |name, value| {
            let role = name.parse().map_err(|error| corrupt(name, error))?;
            roles.insert(role, decode(name, value)?);
            Ok(())
        })?;
        let seen = row(store, SEEN)?.map(|second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX));
        Ok(State { trust: Trust::load(store)?, roles, seen, halted: row(store, HALTED)?, memory })
    }

    /// What is known of `role`; empty for one never seen.
    #[must_use]
    pub fn role(&self, role: &RoleName) -> RoleState {
        self.roles.get(role).cloned().unwrap_or_default()
    }
}

/// Gives every row with this prefix to `sink`, the prefix taken off.
///
/// # Errors
/// As the store's, and the first error of `sink`.
pub fn each_row(store: &Store, prefix: &str, mut sink: impl FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = store.scan(prefix, after.as_deref(), PAGE_ROWS)?;
        for (key, value) in &rows {
            sink(name_of(key, prefix)?, value)?;
        }
        match rows.into_iter().last() {
            Some((key, _)) => after = Some(key),
            None => return Ok(()),
        }
    }
}

fn name_of<'a>(key: &'a [u8], prefix: &str) -> Result<&'a str> {
    let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix));
    name.ok_or_else(|| corrupt(prefix, "a row's name is not text"))
}

/// Deletes bodies that nothing refers to: what was staged by a request that did not come to its end.
pub(crate) fn orphans(store: &Store, roles: &BTreeMap<RoleName, RoleState>) -> Result<Batch> {
    let mut batch = Batch::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let keys = store.keys(BODIES, after.as_deref(), PAGE_ROWS)?;
        for key in &keys {
            let (role, _) =
                name_of(key, BODIES)?.split_once('/').ok_or_else(|| corrupt(BODIES, "a row has no role"))?;
            let known = roles.get_key_value(role);
            let referred = known.is_some_and(|(role, state)| state.bodies(role).any(|row| row.as_bytes() == key));
            if !referred {
                batch.delete(key.clone());
            }
        }
        match keys.into_iter().last() {
            Some(key) => after = Some(key),
            None => return Ok(batch),
        }
    }
}

pub(crate) fn root_row(version: Version) -> String {
    format!("{ROOTS}{version:010}", version = version.get())
}

pub(crate) fn role_row(role: &RoleName) -> String {
    format!("{ROLES}{role}")
}

/// Two contents of one version may be there: what the own key signed, and what was published with others' signatures.
pub(crate) fn body_row(role: &RoleName, known: &Known) -> String {
    format!("{BODIES}{role}/{version}-{digest:.16}", version = known.version, digest = known.sha256)
}

pub(crate) fn answer_row(digest: Sha256) -> String {
    format!("answer/{digest}")
}

/// Puts the new state of a role, and deletes the bodies that only its old state referred to.
pub(crate) fn put_role(batch: &mut Batch, role: &RoleName, old: &RoleState, new: &RoleState) {
    let kept: BTreeSet<_> = new.bodies(role).collect();
    for gone in old.bodies(role).filter(|row| !kept.contains(row)) {
        batch.delete(gone);
    }
    batch.put(role_row(role), encode(new));
}

/// Reads one row that holds JSON.
///
/// # Errors
/// As the store's; [`Error::Corrupt`] for another value.
pub fn row<T: DeserializeOwned>(store: &Store, key: &str) -> Result<Option<T>> {
    store.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// The value of a row that holds JSON.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn decode<T: DeserializeOwned>(name: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| corrupt(name, error))
}

/// A value as JSON. Only types that always serialise are given to it; an empty value would be refused when read.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

pub(crate) fn corrupt(name: &str, reason: impl fmt::Display) -> Error {
    Error::Corrupt { reason: format!("{name}: {reason}") }
}
