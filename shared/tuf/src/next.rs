//! The next document, made from its base and what changed: pure functions, so that equal requests give equal bytes.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use crate::{
    Error, MetaEntry, Outcome, Outcomes, Revision, RoleName, Snapshot, Target, TargetPath, Targets, Timestamp,
    TopLevel, Version, file,
};

/// One change of the targets of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Lists a target, in the place of one with the same path.
    Add {
        /// Its path.
        path: TargetPath,
        /// What to say of it.
        target: Target,
    },
    /// Lists a target no longer.
    Remove {
        /// Its path.
        path: TargetPath,
    },
}

impl Change {
    /// The path that changes.
    #[must_use]
    pub fn path(&self) -> &TargetPath {
        match self {
            Self::Add { path, .. } | Self::Remove { path } => path,
        }
    }
}

/// What became of a targets document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextTargets {
    /// The new document; none if it would say the same as its base.
    pub document: Option<Targets>,
    /// One for each change, in order.
    pub outcomes: Outcomes,
}

/// Applies `changes` in order to the targets of `base`, a document of `role`, which the next one names; delegations,
/// and fields not known here, are copied.
///
/// There is no document when the targets stay as they are, unless `renew` asks for one or there was no base.
///
/// # Errors
/// [`Error::Rollback`] when there is a document and its version is not above the base's.
pub fn next_targets<'a>(
    role: &RoleName,
    base: Option<&Targets>,
    changes: impl IntoIterator<Item = &'a Change>,
    revision: &Revision,
    renew: bool,
) -> Result<NextTargets, Error> {
    let mut targets = base.map_or_else(Cow::default, |base| Cow::Borrowed(&base.targets));
    let outcomes = changes.into_iter().map(|change| apply(&mut targets, change)).collect();
    // Changes may cancel each other out.
    let same = base.is_some_and(|base| matches!(targets, Cow::Borrowed(_)) || base.targets == *targets);
    if same && !renew {
        return Ok(NextTargets { document: None, outcomes });
    }
    let (version, expires) = (revision.version, revision.expires);
    check_above(TopLevel::Targets, base.map(|base| base.version), version)?;
    let (delegations, unknown) = base.map(|base| (base.delegations.clone(), base.unknown.clone())).unwrap_or_default();
    let role = role.as_delegated().cloned();
    let document = Targets { version, expires, role, targets: targets.into_owned(), delegations, unknown };
    Ok(NextTargets { document: Some(document), outcomes })
}

/// Copies the targets only when one of them changes.
fn apply(targets: &mut Cow<'_, BTreeMap<TargetPath, Target>>, change: &Change) -> Outcome {
    match change {
        Change::Remove { path } if !targets.contains_key(path) => Outcome::NotFound,
        Change::Remove { path } => {
            targets.to_mut().remove(path);
            Outcome::Removed
        }
        Change::Add { path, target } => match targets.get(path) {
            Some(listed) if listed == target => Outcome::Unchanged,
            Some(_) => {
                targets.to_mut().insert(path.clone(), target.clone());
                Outcome::Replaced
            }
            None => {
                targets.to_mut().insert(path.clone(), target.clone());
                Outcome::Added
            }
        },
    }
}

/// The next snapshot: the entries of `base`, with `changed` ones in their place or added. No name vanishes.
///
/// # Errors
/// [`Error::Rollback`] when the snapshot's version does not rise or an entry's falls; [`Error::Contradiction`] for an
/// entry of the same version with other length or digest; [`Error::NotListed`] when `targets` would not be there.
pub fn next_snapshot(
    base: Option<&Snapshot>,
    changed: BTreeMap<RoleName, MetaEntry>,
    revision: &Revision,
) -> Result<Snapshot, Error> {
    let (version, expires) = (revision.version, revision.expires);
    check_above(TopLevel::Snapshot, base.map(|base| base.version), version)?;
    let (mut meta, unknown) = base.map(|base| (base.meta.clone(), base.unknown.clone())).unwrap_or_default();
    for (role, entry) in changed {
        if !role.is_targets_role() {
            return Err(Error::invalid("meta", role, "targets and delegated roles"));
        }
        match meta.entry(role) {
            Entry::Vacant(place) => {
                place.insert(entry);
            }
            Entry::Occupied(mut place) => {
                check_successor(place.key(), place.get(), &entry)?;
                place.insert(entry);
            }
        }
    }
    if !meta.contains_key(TopLevel::Targets.as_str()) {
        return Err(Error::NotListed { role: RoleName::targets() });
    }
    Ok(Snapshot { version, expires, meta, unknown })
}

/// The next timestamp, which names `snapshot`, always with length and SHA-256.
///
/// # Errors
/// [`Error::Rollback`] when the timestamp's version does not rise or the snapshot's falls; [`Error::Contradiction`] for
/// the same version of the snapshot with other contents; [`Error::Missing`] without length or digest.
pub fn next_timestamp(base: Option<&Timestamp>, snapshot: MetaEntry, revision: &Revision) -> Result<Timestamp, Error> {
    let (version, expires) = (revision.version, revision.expires);
    check_above(TopLevel::Timestamp, base.map(|base| base.version), version)?;
    if snapshot.length.is_none() || snapshot.hashes.is_none() {
        let field = if snapshot.length.is_none() { "length" } else { "hashes" };
        return Err(Error::Missing { field: format!("meta.{}.{field}", file::listed(&RoleName::snapshot())) });
    }
    if let Some(base) = base {
        check_successor(&RoleName::snapshot(), &base.snapshot, &snapshot)?;
    }
    let unknown = base.map(|base| base.unknown.clone()).unwrap_or_default();
    Ok(Timestamp { version, expires, snapshot, unknown })
}

/// A new document's version must be above its base's.
fn check_above(role: TopLevel, base: Option<Version>, offered: Version) -> Result<(), Error> {
    let least = match base.map(Version::next) {
        None => Version::ONE,
        Some(Some(next)) => next,
        Some(None) => return Err(Error::VersionsExhausted { role: role.into() }),
    };
    if offered < least { Err(Error::Rollback { role: role.into(), least, offered }) } else { Ok(()) }
}

/// An entry may replace another only if its version does not fall, and for one version there is one content.
pub(crate) fn check_successor(role: &RoleName, known: &MetaEntry, offered: &MetaEntry) -> Result<(), Error> {
    if offered.version < known.version {
        return Err(Error::Rollback { role: role.clone(), least: known.version, offered: offered.version });
    }
    let differs = known.length.zip(offered.length).is_some_and(|(known, offered)| known != offered)
        || known
            .hashes
            .as_ref()
            .zip(offered.hashes.as_ref())
            .is_some_and(|(known, offered)| known.as_sha256() != offered.as_sha256());
    if offered.version == known.version && differs {
        return Err(Error::Contradiction { role: role.clone(), version: known.version });
    }
    Ok(())
}
