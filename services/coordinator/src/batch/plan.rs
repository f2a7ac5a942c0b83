//! What the next batch is: which submissions, and the next version of which roles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rstuf_api::DocumentRef;
use rstuf_tuf::{Revision, RoleName, Version};
use uuid::Uuid;

use super::changes::Changes;
use crate::{
    Error, Repository, Result,
    intake::queue::Selection,
    journal::rows::{BatchRow, RolePlan, Withdrawn},
    published::Published,
    signers::{Objection, RoleState},
};

/// Makes the next batch of what was taken from the queue and of the roles to renew; none if there is neither.
///
/// # Errors
/// [`Error::Store`], [`Error::Journal`], [`Error::VersionsExhausted`].
pub(crate) fn batch(
    selection: &Selection,
    changes: &Changes,
    renew: &BTreeSet<RoleName>,
    published: &Published,
    id: Uuid,
    now: Timestamp,
) -> Result<Option<BatchRow>> {
    let repository = changes.repository();
    let mut roles: BTreeSet<RoleName> = changes.count()?.into_keys().collect();
    roles.extend(renew.iter().cloned());
    if roles.is_empty() && selection.publishes.is_empty() {
        return Ok(None);
    }
    let plan = |role: RoleName| {
        let (signed, seen) = (published.withdrawn_of(&role), published.role(&role).map(|row| row.reference(&role)));
        let revision = revision_after(repository, &role, signed.clone().or(seen.clone()), now)?;
        let withdraws = signed.zip(seen).map(|(signed, published)| Withdrawn { signed, published });
        Ok(RolePlan { revision, renew: withdraws.is_some() || renew.contains(&role), withdraws, role })
    };
    Ok(Some(BatchRow {
        id,
        submissions: selection.submissions.iter().map(|entry| entry.seq).collect(),
        publishes: selection.publishes.clone(),
        roles: roles.into_iter().map(plan).collect::<Result<_>>()?,
        offline: Vec::new(),
        refusals: 0,
        applied: None,
        signed: None,
    }))
}

/// The same batch under another id, with expiries as of now: for one that was never signed, because its own have
/// passed.
pub(crate) fn redated(repository: &Repository, batch: &BatchRow, id: Uuid, now: Timestamp) -> BatchRow {
    let count = batch.roles.len();
    let redated = |(index, plan): (usize, &RolePlan)| {
        let expires = match plan.revision.base {
            None if plan.renew => repository.first_expiry(&plan.role, index, count, now),
            _ => repository.expiry(&plan.role, now),
        };
        RolePlan { revision: Revision { expires, ..plan.revision.clone() }, ..plan.clone() }
    };
    BatchRow { id, roles: batch.roles.iter().enumerate().map(redated).collect(), ..batch.clone() }
}

/// The same batch under another id, above what the signer signed of its roles for somebody else; none where that is
/// nothing. What the other request put into a role is published along: the signer applies the changes to its own last
/// document.
///
/// # Errors
/// [`Error::VersionsExhausted`].
pub(crate) fn rebased(batch: &BatchRow, states: &[RoleState], id: Uuid) -> Result<Option<BatchRow>> {
    let states: BTreeMap<&RoleName, &RoleState> = states.iter().map(|state| (&state.role, state)).collect();
    let ahead = |plan: &RolePlan| {
        states.get(&plan.role).copied().filter(|state| state.highest() >= plan.revision.version.get())
    };
    if !batch.roles.iter().any(|plan| ahead(plan).is_some()) {
        return Ok(None);
    }
    let rebase = |plan: &RolePlan| match ahead(plan) {
        None => Ok(plan.clone()),
        // Even where the changes are in that document already: clients have not seen it.
        Some(state) => {
            let revision = revision_above(state, plan.revision.expires)?;
            Ok(RolePlan { revision, renew: true, ..plan.clone() })
        }
    };
    let roles = batch.roles.iter().map(rebase).collect::<Result<_>>()?;
    Ok(Some(BatchRow { id, roles, ..batch.clone() }))
}

/// The same batch under another id, where the signer's limits forbid of one of its roles only that what is withdrawn is
/// taken back: that is published along, as what it signed for somebody else is. None where that is not what it refuses.
pub(crate) fn along(batch: &BatchRow, error: &Error, id: Uuid) -> Option<BatchRow> {
    let Error::SignerRefused { objection: Objection::TooMuch { submissions }, reason: Some(reason), .. } = error else {
        return None;
    };
    // It stands after the submissions, and those of them that are at fault too go first.
    if !submissions.iter().eq([&batch.submissions.len()]) {
        return None;
    }
    let role = reason.metadata.get("role")?;
    let mut along = BatchRow { id, ..batch.clone() };
    let plan = along.roles.iter_mut().find(|plan| plan.role.as_str() == role)?;
    plan.withdraws.take()?;
    Some(along)
}

/// The version above all that a signer has signed of a role.
///
/// # Errors
/// [`Error::VersionsExhausted`].
pub(crate) fn revision_above(state: &RoleState, expires: Timestamp) -> Result<Revision> {
    let version = Version::try_from(u64::from(state.highest()) + 1);
    let version = version.map_err(|_| Error::VersionsExhausted { role: state.role.clone() })?;
    Ok(Revision { base: state.base.clone(), version, expires })
}

/// The version after the published one.
///
/// # Errors
/// [`Error::VersionsExhausted`].
pub(crate) fn next_revision(
    repository: &Repository,
    published: &Published,
    role: &RoleName,
    now: Timestamp,
) -> Result<Revision> {
    revision_after(repository, role, published.role(role).map(|row| row.reference(role)), now)
}

/// The version after `base`.
///
/// # Errors
/// [`Error::VersionsExhausted`].
pub(crate) fn revision_after(
    repository: &Repository,
    role: &RoleName,
    base: Option<DocumentRef>,
    now: Timestamp,
) -> Result<Revision> {
    let version = match &base {
        None => Version::ONE,
        Some(base) => base.version.next().ok_or_else(|| Error::VersionsExhausted { role: role.clone() })?,
    };
    Ok(Revision { base, version, expires: repository.expiry(role, now) })
}
