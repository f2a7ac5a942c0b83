//! What a signer remembers, as rows of its store.
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
//! | `anchor` | what the clocks said when that was noted last |
//! | `halted` | what proved that this state is older than what the key signed |
//!
//! Bodies are written first, in as many batches as keep memory flat; one batch then changes everything that refers to
//! them.

use std::{collections::BTreeSet, fmt};

use rstuf_store::{Batch, Store};
use rstuf_tuf::{Known, Outcomes, RoleName, Sha256, Version};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Budget, Error, Result};

pub(crate) const KEY: &str = "key";
pub(crate) const ROOTS: &str = "root/";
/// The row of the top-level targets document that delegates.
pub const DELEGATOR: &str = "delegator";
pub(crate) const ROLES: &str = "role/";
pub(crate) const BODIES: &str = "body/";
pub(crate) const SEEN: &str = "seen";
pub(crate) const ANCHOR: &str = "anchor";
pub(crate) const HALTED: &str = "halted";

/// Rows read at a time.
const PAGE_ROWS: usize = 4096;

/// What a signer knows of one role. Neither the base's version nor the watermark ever falls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleState {
    /// The highest threshold-signed document seen.
    pub base: Option<Known>,
    /// The last document that the own key signed; usually the base.
    pub signed: Option<Known>,
    /// The request that was answered last for this role.
    pub answer: Option<Sha256>,
    /// What is spent of its versions.
    #[serde(default)]
    pub budget: Budget,
}

impl RoleState {
    /// The highest version that the own key ever signed.
    #[must_use]
    pub fn watermark(&self) -> Option<Version> {
        self.signed.as_ref().map(|signed| signed.version)
    }

    /// The highest version of base and watermark; 0 for none.
    pub(crate) fn highest(&self) -> u64 {
        let highest = self.watermark().max(self.base.as_ref().map(|base| base.version));
        highest.map_or(0, |highest| u64::from(highest.get()))
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
    /// One for each change.
    pub outcomes: Outcomes,
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

/// As [`each_row`], for rows that are named by a role.
///
/// # Errors
/// As [`each_row`]; [`Error::Corrupt`] for another name.
pub fn each_role(store: &Store, prefix: &str, mut sink: impl FnMut(RoleName, &[u8]) -> Result<()>) -> Result<()> {
    each_row(store, prefix, |name, value| sink(name.parse().map_err(|error| corrupt(name, error))?, value))
}

fn name_of<'a>(key: &'a [u8], prefix: &str) -> Result<&'a str> {
    let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix));
    name.ok_or_else(|| corrupt(prefix, "a row's name is not text"))
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
