//! What the next batch is: which submissions, and the next version of which roles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rstuf_api::{DocumentRef, Kinded as _, Refusal};
use rstuf_tuf::{Revision, RoleName, Version};
use uuid::Uuid;

use super::changes::Changes;
use crate::{
    Error, Repository, Result,
    intake::queue::Selection,
    journal::rows::{BatchRow, LaneRow, RolePlan, Withdrawn},
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
/// taken back: that is published along, as what it signed for somebody else is. A signer names one such role at a time:
/// as many more of those that follow it go with it as went before, so that the batch is refused a few times only. None
/// where that is not what it refuses.
pub(crate) fn along(
    batch: &BatchRow,
    error: &Error,
    withdrawn: &BTreeMap<RoleName, DocumentRef>,
    id: Uuid,
) -> Option<BatchRow> {
    let Error::SignerRefused { objection: Objection::TooMuch { submissions }, reason: Some(reason), .. } = error else {
        return None;
    };
    // It stands after the submissions, and those of them that are at fault too go first.
    if !submissions.iter().eq([&batch.submissions.len()]) {
        return None;
    }
    let role = reason.metadata.get("role")?;
    let gone = batch.roles.iter().filter(|plan| plan.withdraws.is_none() && withdrawn.contains_key(&plan.role)).count();
    let mut along = BatchRow { id, ..batch.clone() };
    let named = along.roles.iter().position(|plan| plan.role.as_str() == role && plan.withdraws.is_some())?;
    along.roles[named..].iter_mut().filter_map(|plan| plan.withdraws.take()).take(gone + 1).for_each(drop);
    Some(along)
}

/// Whether it is not known that submissions are at fault which are said to make a document too large: what is taken
/// back in the same batch may make room, and the signer counts it after them.
pub(crate) fn blames_in_doubt(batch: &BatchRow, error: &Error) -> bool {
    let is_too_large = error.reason().is_some_and(|reason| reason.name == Refusal::DocumentTooLarge);
    is_too_large && batch.roles.iter().any(|plan| plan.withdraws.is_some())
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

/// A run that makes the next snapshot, and the timestamp over it, whose version nothing raises before the snapshot is
/// signed, but a renewal, which makes it planned anew.
///
/// # Errors
/// [`Error::VersionsExhausted`].
pub(crate) fn run(
    repository: &Repository,
    published: &Published,
    id: Uuid,
    batch: bool,
    now: Timestamp,
) -> Result<LaneRow> {
    let next = |role| next_revision(repository, published, &role, now).map(Some);
    let (snapshot, timestamp) = (next(RoleName::snapshot())?, next(RoleName::timestamp())?);
    Ok(LaneRow { snapshot, timestamp, ..LaneRow::new(id, batch) })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstuf_api::Reason;
    use rstuf_tuf::Sha256;

    use super::*;
    use crate::signers::Group;

    fn document(role: &RoleName) -> DocumentRef {
        DocumentRef { role: role.clone(), version: Version::ONE, sha256: Sha256([7; 32]), length: 1 }
    }

    fn withdrawing(roles: u64, submissions: &[u64]) -> BatchRow {
        let plan = |number| {
            let plan = RolePlan { renew: true, ..RolePlan::first(&format!("bins-{number:04}")) };
            let withdraws = Withdrawn { signed: document(&plan.role), published: document(&plan.role) };
            RolePlan { withdraws: Some(withdraws), ..plan }
        };
        BatchRow {
            id: Uuid::nil(),
            submissions: submissions.to_vec(),
            publishes: Vec::new(),
            roles: (0..roles).map(plan).collect(),
            refusals: 0,
            offline: Vec::new(),
            applied: None,
            signed: None,
        }
    }

    fn refused(refusal: Refusal, role: &RoleName, submissions: &[usize]) -> Error {
        let objection = Objection::TooMuch { submissions: submissions.iter().copied().collect() };
        let reason = Some(Reason::new(refusal).with("role", role));
        Error::SignerRefused { group: Group::Targets, objection, reason, message: "too much".to_owned() }
    }

    /// What a signer that names one role at a time forbids of a thousand: one role costs no other, all cost few calls.
    #[test]
    fn what_may_not_be_taken_back_goes_along_in_a_few_calls() {
        for submissions in [&[][..], &[7, 8]] {
            let mut batch = withdrawing(1_000, submissions);
            let withdrawn = batch.roles.iter().map(|plan| (plan.role.clone(), document(&plan.role))).collect();
            let left = |batch: &BatchRow| batch.roles.iter().filter(|plan| plan.withdraws.is_some()).count();
            let mut calls = 0;
            while let Some(plan) = batch.roles.iter().find(|plan| plan.withdraws.is_some()) {
                let error = refused(Refusal::TooManyRemovals, &plan.role, &[submissions.len()]);
                batch = along(&batch, &error, &withdrawn, Uuid::max()).unwrap();
                calls += 1;
                assert!(calls > 1 || left(&batch) == 999);
            }
            assert_eq!(calls, 10);
            let none = refused(Refusal::TooManyRemovals, &batch.roles[0].role, &[submissions.len()]);
            assert_eq!(along(&batch, &none, &withdrawn, Uuid::max()), None, "nothing is taken back");
        }
        let (batch, role) = (withdrawing(1, &[7]), RoleName::targets());
        assert_eq!(along(&batch, &refused(Refusal::TooManyRemovals, &role, &[0, 1]), &BTreeMap::new(), batch.id), None);
    }

    /// A submission is blamed for what does not fit only where nothing is taken back that might make room for it.
    #[test]
    fn what_is_taken_back_may_make_room() {
        let role = RoleName::targets();
        let too_large = refused(Refusal::DocumentTooLarge, &role, &[0]);
        assert!(blames_in_doubt(&withdrawing(1, &[7]), &too_large));
        assert!(!blames_in_doubt(&withdrawing(0, &[7]), &too_large));
        assert!(!blames_in_doubt(&withdrawing(1, &[7]), &refused(Refusal::TooManyRemovals, &role, &[0])));
    }
}
