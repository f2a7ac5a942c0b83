//! What the targets signer checks before it signs.

use rstuf_signing::{Built, Error, Made, Result, STAGE_BYTES, Session, parallel};
use rstuf_store::Batch;
use rstuf_tuf::{DOCUMENT_BYTES_MAX, RoleName, Targets, next_targets};

use crate::{
    overflow,
    request::{RoleRequest, SigningRequest},
};

/// What a document, and each change in it, takes beyond the bytes of their messages, roughly: for planning memory only.
const FRAME_BYTES: usize = 512;

/// What a renewal may add to a document that has the largest size allowed.
const RENEWAL_BYTES: usize = 256;

/// Makes the next document of every role, or of none. Bodies go to the disk group by group, so that memory does not
/// grow with the request.
pub(crate) fn build(session: &Session<'_, ()>, request: &SigningRequest, bytes_max: usize) -> Result<Built<()>> {
    let roles = &request.roles;
    let checked = parallel::map(roles, |role| check(session, request, role));
    checked.into_iter().collect::<Result<()>>()?;
    let mut made = Vec::with_capacity(roles.len());
    let mut overflowing = Vec::new();
    let result = make_all(session, request, bytes_max, &mut made, &mut overflowing);
    let result = result.and_then(|()| match overflowing.as_slice() {
        [] => Ok(()),
        roles => Err(overflow::error(session, request, roles, bytes_max)?),
    });
    if let Err(error) = result {
        session.unstage(&made);
        return Err(error);
    }
    Ok(Built { roles: made, batch: Batch::new(), remember: Box::new(|_| ()) })
}

fn make_all<'a>(
    session: &Session<'_, ()>,
    request: &'a SigningRequest,
    bytes_max: usize,
    made: &mut Vec<Made>,
    overflowing: &mut Vec<&'a RoleRequest>,
) -> Result<()> {
    let groups = groups(session, &request.roles);
    let last = groups.len().saturating_sub(1);
    for (index, group) in groups.into_iter().enumerate() {
        let begin = made.len();
        let results = parallel::map(group, |role| make(session, request, role, bytes_max));
        for (role, result) in group.iter().zip(results) {
            match result {
                Ok(one) => made.push(one),
                Err(Error::TooLarge { .. }) => overflowing.push(role),
                Err(error) => return Err(error),
            }
        }
        // The last group stays in memory and is committed with all that refers to it.
        if index < last && overflowing.is_empty() {
            session.stage(&mut made[begin..])?;
        }
    }
    Ok(())
}

/// Cuts the roles into groups whose documents have about [`STAGE_BYTES`] together, by the size of their bases.
fn groups<'a>(session: &Session<'_, ()>, roles: &'a [RoleRequest]) -> Vec<&'a [RoleRequest]> {
    let mut groups = Vec::new();
    let (mut begin, mut gathered) = (0, 0);
    for (index, request) in roles.iter().enumerate() {
        let base = session.state().roles.get(&request.role).and_then(|state| state.base.as_ref());
        let base = base.map_or(0, |base| usize::try_from(base.length).unwrap_or(usize::MAX));
        let bytes = usize::try_from(request.place.end - request.place.start).unwrap_or(usize::MAX);
        let size = base.saturating_add(bytes).saturating_add(FRAME_BYTES * (1 + request.changes));
        if index > begin && size.saturating_add(gathered) > STAGE_BYTES {
            groups.push(&roles[begin..index]);
            (begin, gathered) = (index, 0);
        }
        gathered += size;
    }
    groups.push(&roles[begin..]);
    groups
}

/// Checks one role: own, free version, right base, and every path belongs to it.
fn check(session: &Session<'_, ()>, whole: &SigningRequest, request: &RoleRequest) -> Result<()> {
    let role = &request.role;
    if !role.is_targets_role() {
        return Err(Error::wrong_role(role, "this signer signs targets and delegated roles only"));
    }
    session.check(role, &request.revision)?;
    // Where the root names the own key for targets, there are no delegations and every path belongs to it.
    if *role == RoleName::targets() {
        return Ok(());
    }
    let delegations = session.trust().delegator().map(|delegator| &delegator.delegations);
    for change in whole.changes(request)? {
        let path = change.change.path();
        let owner = delegations.and_then(|delegations| delegations.role_for(path));
        if owner.as_ref() != Some(role) {
            let owner = owner.map_or_else(|| "no role".to_owned(), |owner| owner.to_string());
            return Err(Error::wrong_role(role, format!("path `{path}` belongs to {owner}")));
        }
    }
    Ok(())
}

fn make(session: &Session<'_, ()>, whole: &SigningRequest, request: &RoleRequest, bytes_max: usize) -> Result<Made> {
    let role = &request.role;
    let base: Option<Targets> = session.base(role)?;
    let changes = whole.changes(request)?;
    let changes = changes.iter().map(|change| &change.change);
    let next = next_targets(role, base.as_ref(), changes, &request.revision, request.renew);
    let next = next.map_err(|error| Error::evidence(role, error))?;
    drop(base);
    // A renewal must never fail for its size, though version and expiry may grow by a digit.
    let bytes_max = if request.changes == 0 { (bytes_max + RENEWAL_BYTES).min(DOCUMENT_BYTES_MAX) } else { bytes_max };
    let document = next.document.map(|document| session.seal(role, &document, bytes_max)).transpose()?;
    Ok(Made { role: role.clone(), document, outcomes: next.outcomes })
}
