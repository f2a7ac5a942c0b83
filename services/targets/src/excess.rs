//! Which submissions remove too much.

use std::collections::BTreeSet;

use rstuf_signing::{Error, Result, Session};
use rstuf_tuf::{Change, TargetPath, Targets};

use crate::{
    removals::Memory,
    request::{RoleRequest, SigningRequest},
    spool::SubmittedChange,
};

/// The error that names the submissions at fault: taken one after another, each that would take more than `most` from
/// one of these roles, the earlier ones at fault left out. Without them the rest is allowed.
pub(crate) fn error(
    session: &Session<'_, Memory>,
    whole: &SigningRequest,
    roles: &[(&RoleRequest, u64)],
) -> Result<Error> {
    let mut at_fault = BTreeSet::new();
    for (request, most) in roles {
        let base: Option<Targets> = session.base(&request.role)?;
        let listed = |path: &TargetPath| base.as_ref().is_some_and(|base| base.targets.contains_key(path));
        let mut changes = whole.changes(request)?;
        changes.retain(|change| listed(change.change.path()) && !at_fault.contains(&change.submission));
        at_fault.extend(in_excess(&mut changes, *most));
    }
    let Some((request, most)) = roles.first() else { return Err(Error::invalid("role_changes", "nothing is removed")) };
    let submissions = at_fault.into_iter().collect();
    Ok(Error::TooManyRemovals { role: request.role.clone(), most: *most, submissions })
}

/// Those of the submissions that would take more than `most` away. All changes are of paths that are listed.
fn in_excess(changes: &mut [SubmittedChange], most: u64) -> BTreeSet<u32> {
    // Stable: within one submission the order counts.
    changes.sort_by_key(|change| change.submission);
    let (mut gone, mut at_fault) = (BTreeSet::new(), BTreeSet::new());
    for changes in changes.chunk_by(|one, next| one.submission == next.submission) {
        let (before, mut undo) = (gone.len(), Vec::with_capacity(changes.len()));
        for SubmittedChange { change, .. } in changes {
            let differs = match change {
                Change::Remove { path } => gone.insert(path),
                Change::Add { path, .. } => gone.remove(path),
            };
            undo.extend(differs.then_some(change));
        }
        if gone.len() > before && gone.len() as u64 > most {
            at_fault.extend(changes.first().map(|change| change.submission));
            for change in undo.into_iter().rev() {
                match change {
                    Change::Remove { path } => gone.remove(path),
                    Change::Add { path, .. } => gone.insert(path),
                };
            }
        }
    }
    at_fault
}
