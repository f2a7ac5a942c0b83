//! The client's update workflow (TUF specification, sections 5.3 to 5.6) as a state machine without files, network or
//! clock.

use std::collections::BTreeMap;

use jiff::Timestamp as Time;

use crate::{
    Document, Envelope, Error, MetaEntry, RoleKeys, RoleName, Root, Snapshot, Targets, Timestamp, TopLevel,
    key::Keys,
    next::check_successor,
    trust::{verify_root_update, verify_self_signed},
};

/// Where a document was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In a store of one's own, where it was put after it had been verified: it need not be the announced one any more.
    Cache,
    /// In the repository.
    Repository,
}

/// Metadata that was verified step by step: roots, then timestamp, snapshot, targets and delegated targets.
///
/// `now` is the time at which the update began, the same for all its steps. A cached timestamp or snapshot that has
/// expired is refused with [`Error::Expired`] but still kept: newer ones must not roll it back. Cached copies that fail
/// otherwise (as after a change of keys) are to be ignored, and fetched.
#[derive(Debug, Clone)]
pub struct TrustedSet {
    root: Root,
    timestamp: Option<Timestamp>,
    snapshot: Option<Snapshot>,
    targets: BTreeMap<RoleName, Targets>,
}

impl TrustedSet {
    /// Begins with a root that is trusted already, of any version.
    ///
    /// # Errors
    /// [`Error::Threshold`] when it is not signed by its own keys, or the field at fault.
    pub fn new(root: &[u8]) -> Result<Self, Error> {
        Ok(Self::with_root(verify_self_signed(&Envelope::parse(root)?)?))
    }

    /// Begins with a root that was verified.
    fn with_root(root: Root) -> Self {
        Self { root, timestamp: None, snapshot: None, targets: BTreeMap::new() }
    }

    /// The latest root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The latest timestamp; it may have expired if it was cached.
    #[must_use]
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.timestamp.as_ref()
    }

    /// The latest snapshot; it may be older than the timestamp says if it was cached.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// The targets document of a role, if it was verified.
    #[must_use]
    pub fn targets(&self, role: &RoleName) -> Option<&Targets> {
        self.targets.get(role)
    }

    /// Follows to the next root (section 5.3).
    ///
    /// # Errors
    /// As [`verify_root_update`]; [`Error::OutOfOrder`] after a timestamp.
    pub fn update_root(&mut self, bytes: &[u8]) -> Result<&Root, Error> {
        if self.timestamp.is_some() {
            return Err(Error::OutOfOrder { role: RoleName::root(), reason: "after the timestamp" });
        }
        self.root = verify_root_update(&self.root, &Envelope::parse(bytes)?)?;
        Ok(&self.root)
    }

    /// Takes a timestamp (section 5.4), after the last root. False if it has the version of the trusted one, which
    /// stays: then nothing is new.
    ///
    /// # Errors
    /// [`Error::Expired`] for the root or the timestamp, [`Error::Threshold`], [`Error::Rollback`] of it or of the
    /// snapshot that it names, [`Error::OutOfOrder`] after a snapshot, or the field at fault.
    pub fn update_timestamp(&mut self, bytes: &[u8], now: Time) -> Result<bool, Error> {
        let role = RoleName::timestamp();
        if self.snapshot.is_some() {
            return Err(Error::OutOfOrder { role, reason: "after the snapshot" });
        }
        check_fresh(&RoleName::root(), &self.root, now)?;
        let envelope = Envelope::parse(bytes)?;
        let new: Timestamp = verified(&envelope, &self.root.keys, self.root.role(TopLevel::Timestamp))?;
        if let Some(known) = &self.timestamp {
            if new.version < known.version {
                return Err(Error::Rollback { role, least: known.version, offered: new.version });
            }
            if new.version == known.version {
                return Ok(false);
            }
            check_successor(&RoleName::snapshot(), &known.snapshot, &new.snapshot)?;
        }
        let timestamp = self.timestamp.insert(new);
        check_fresh(&role, timestamp, now)?;
        Ok(true)
    }

    /// Takes the snapshot that the timestamp names (section 5.5).
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] before a timestamp or after targets; [`Error::LengthMismatch`] and
    /// [`Error::DigestMismatch`] unless it is from the cache; [`Error::Threshold`]; [`Error::Rollback`] or
    /// [`Error::Vanished`] for a role that an older snapshot listed; [`Error::VersionMismatch`], [`Error::Expired`], or
    /// the field at fault.
    pub fn update_snapshot(&mut self, bytes: &[u8], origin: Origin, now: Time) -> Result<&Snapshot, Error> {
        let role = RoleName::snapshot();
        let timestamp = self.fresh_timestamp(now)?;
        if !self.targets.is_empty() {
            return Err(Error::OutOfOrder { role, reason: "after targets" });
        }
        let envelope = Envelope::parse(bytes)?;
        if origin == Origin::Repository {
            timestamp.snapshot.check(&role, &envelope)?;
        }
        let new: Snapshot = verified(&envelope, &self.root.keys, self.root.role(TopLevel::Snapshot))?;
        if let Some(known) = &self.snapshot {
            check_snapshot_successor(known, &new)?;
        }
        self.snapshot = Some(new);
        self.final_snapshot(now)
    }

    /// Takes the targets document of `role`, which `delegator` delegates to (sections 5.6): `root` for the top-level
    /// targets, else a targets role that was taken before.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] before a snapshot or before the delegator, [`Error::NotListed`], [`Error::NotDelegated`],
    /// [`Error::LengthMismatch`], [`Error::DigestMismatch`], [`Error::Threshold`], [`Error::VersionMismatch`],
    /// [`Error::Expired`], or the field at fault.
    pub fn update_targets(
        &mut self,
        role: &RoleName,
        bytes: &[u8],
        delegator: &RoleName,
        now: Time,
    ) -> Result<&Targets, Error> {
        let snapshot = self.final_snapshot(now)?;
        let listed = snapshot.meta.get(role).ok_or_else(|| Error::NotListed { role: role.clone() })?;
        let (keys, role_keys) = self.keys_of(role, delegator)?;
        let envelope = Envelope::parse(bytes)?;
        listed.check(role, &envelope)?;
        let new: Targets = verified(&envelope, keys, role_keys)?;
        check_version(role, listed, &new)?;
        check_fresh(role, &new, now)?;
        Ok(self.targets.entry(role.clone()).insert_entry(new).into_mut())
    }

    /// The keys of a targets role, as `root` or a targets document delegates.
    fn keys_of(&self, role: &RoleName, delegator: &RoleName) -> Result<(&Keys, &RoleKeys), Error> {
        let not_delegated = || Error::NotDelegated { role: role.clone(), delegator: delegator.clone() };
        if role.top_level() == Some(TopLevel::Targets) && delegator.top_level() == Some(TopLevel::Root) {
            return Ok((&self.root.keys, self.root.role(TopLevel::Targets)));
        }
        if !delegator.is_targets_role() {
            return Err(not_delegated());
        }
        let document = self.targets.get(delegator);
        let document = document
            .ok_or_else(|| Error::OutOfOrder { role: role.clone(), reason: "before the role that delegates to it" })?;
        let delegations = document.delegations.as_ref().ok_or_else(not_delegated)?;
        delegations.keys_of(role).ok_or_else(not_delegated)
    }

    fn fresh_timestamp(&self, now: Time) -> Result<&Timestamp, Error> {
        let reason = "before the timestamp";
        let timestamp =
            self.timestamp.as_ref().ok_or_else(|| Error::OutOfOrder { role: RoleName::snapshot(), reason })?;
        check_fresh(&RoleName::timestamp(), timestamp, now)?;
        Ok(timestamp)
    }

    /// The snapshot, if it is the one that the timestamp names and has not expired.
    fn final_snapshot(&self, now: Time) -> Result<&Snapshot, Error> {
        let reason = "before the snapshot";
        let snapshot = self.snapshot.as_ref().ok_or_else(|| Error::OutOfOrder { role: RoleName::targets(), reason })?;
        check_version(&RoleName::snapshot(), &self.fresh_timestamp(now)?.snapshot, snapshot)?;
        check_fresh(&RoleName::snapshot(), snapshot, now)?;
        Ok(snapshot)
    }
}

fn verified<T: Document>(envelope: &Envelope, keys: &Keys, role: &RoleKeys) -> Result<T, Error> {
    envelope.check_type(T::TYPE)?;
    envelope.verify(keys, role)?;
    envelope.decode()
}

fn check_fresh(role: &RoleName, document: &impl Document, now: Time) -> Result<(), Error> {
    let expires = document.expires();
    if expires <= now { Err(Error::Expired { role: role.clone(), expires, now }) } else { Ok(()) }
}

fn check_version(role: &RoleName, listed: &MetaEntry, document: &impl Document) -> Result<(), Error> {
    let (expected, found) = (listed.version, document.version());
    if expected != found { Err(Error::VersionMismatch { role: role.clone(), expected, found }) } else { Ok(()) }
}

/// No role that `known` lists may vanish or fall back in `new` (section 5.5.5).
///
/// # Errors
/// [`Error::Vanished`], [`Error::Rollback`], and [`Error::Contradiction`] for one version with two digests.
fn check_snapshot_successor(known: &Snapshot, new: &Snapshot) -> Result<(), Error> {
    known.meta.iter().try_for_each(|(role, known)| {
        let offered = new.meta.get(role).ok_or_else(|| Error::Vanished { role: role.clone() })?;
        check_successor(role, known, offered)
    })
}
