//! What the targets signer checks before it signs.

use rstuf_signing::{Built, Error, Made, Result, STAGE_BYTES, Session, State, parallel, rows};
use rstuf_store::Batch;
use rstuf_tuf::{DOCUMENT_BYTES_MAX, RoleName, Targets, next_targets};

use crate::{
    config::Config,
    excess, overflow,
    progress::Progress,
    removals::{self, History, Limits, Memory},
    request::{RoleRequest, SigningRequest},
};

/// What a document, and each change in it, takes beyond the bytes of their messages, roughly: for planning memory only.
const FRAME_BYTES: usize = 512;

/// What a renewal may add to a document that has the largest size allowed.
const RENEWAL_BYTES: usize = 256;

/// What the operators of this signer allow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    document_bytes_max: usize,
    removals: Limits,
}

impl From<&Config> for Bounds {
    fn from(config: &Config) -> Self {
        let (publication, day) = (config.removals_per_publication_max, config.removals_per_day_max);
        Self { document_bytes_max: config.document_bytes_max, removals: Limits { publication, day } }
    }
}

/// Makes the next document of every role, or of none. Bodies go to the disk group by group, so that memory does not
/// grow with the request.
pub(crate) fn build(
    session: &Session<'_, Memory>,
    request: &SigningRequest,
    bounds: Bounds,
    progress: &Progress,
) -> Result<Built<Memory>> {
    let check = |role: &RoleRequest| {
        let checked = check(session, request, role);
        progress.checked();
        checked
    };
    parallel::map(&request.roles, check).into_iter().collect::<Result<()>>()?;
    let mut making = Making::new(progress);
    let result = making.all(session, request, bounds).and_then(|()| making.check(session, request, bounds));
    if let Err(error) = result {
        session.unstage(&making.made);
        return Err(error);
    }
    let Making { made, histories, .. } = making;
    let mut batch = Batch::new();
    for (role, history) in &histories {
        batch.put(removals::row(role), rows::encode(history));
    }
    let remember = move |state: &mut State<Memory>| state.memory.removals.extend(histories);
    Ok(Built { roles: made, batch, remember: Box::new(remember) })
}

/// What becomes of a request.
struct Making<'a> {
    progress: &'a Progress,
    made: Vec<Made>,
    histories: Vec<(RoleName, History)>,
    /// Roles whose document would be too large.
    overflowing: Vec<&'a RoleRequest>,
    /// Roles that would lose more than so many.
    emptied: Vec<(&'a RoleRequest, u64)>,
}

impl<'a> Making<'a> {
    fn new(progress: &'a Progress) -> Self {
        let (made, histories, overflowing, emptied) = Default::default();
        Self { progress, made, histories, overflowing, emptied }
    }

    fn all(&mut self, session: &Session<'_, Memory>, request: &'a SigningRequest, bounds: Bounds) -> Result<()> {
        let groups = groups(session, &request.roles);
        let last = groups.len().saturating_sub(1);
        for (index, group) in groups.into_iter().enumerate() {
            let begin = self.made.len();
            let progress = self.progress;
            let results = parallel::map(group, |role| {
                let made = make(session, request, role, bounds);
                progress.made();
                made
            });
            for (role, result) in group.iter().zip(results) {
                match result {
                    Ok((one, history)) => {
                        self.histories.extend(history.map(|history| (role.role.clone(), history)));
                        self.made.push(one);
                    }
                    Err(Error::TooLarge { .. }) => self.overflowing.push(role),
                    Err(Error::TooManyRemovals { most, .. }) => self.emptied.push((role, most)),
                    Err(error) => return Err(error),
                }
            }
            // The last group stays in memory and is committed with all that refers to it.
            if index < last && self.overflowing.is_empty() && self.emptied.is_empty() {
                session.stage(&mut self.made[begin..])?;
            }
        }
        Ok(())
    }

    /// Names the submissions at fault, if any are.
    fn check(&self, session: &Session<'_, Memory>, request: &SigningRequest, bounds: Bounds) -> Result<()> {
        if !self.emptied.is_empty() {
            return Err(excess::error(session, request, &self.emptied)?);
        }
        if !self.overflowing.is_empty() {
            return Err(overflow::error(session, request, &self.overflowing, bounds.document_bytes_max)?);
        }
        Ok(())
    }
}

/// Cuts the roles into groups whose documents have about [`STAGE_BYTES`] together, by the size of their bases.
fn groups<'a>(session: &Session<'_, Memory>, roles: &'a [RoleRequest]) -> Vec<&'a [RoleRequest]> {
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
fn check(session: &Session<'_, Memory>, whole: &SigningRequest, request: &RoleRequest) -> Result<()> {
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
    for path in whole.paths(request)? {
        if !delegations.is_some_and(|delegations| delegations.is_role_for(role, &path)) {
            let owner = delegations.and_then(|delegations| delegations.role_for(&path));
            let owner = owner.map_or_else(|| "no role".to_owned(), |owner| owner.to_string());
            return Err(Error::wrong_role(role, format!("path `{path}` belongs to {owner}")));
        }
    }
    Ok(())
}

fn make(
    session: &Session<'_, Memory>,
    whole: &SigningRequest,
    request: &RoleRequest,
    bounds: Bounds,
) -> Result<(Made, Option<History>)> {
    let role = &request.role;
    let base: Option<Targets> = session.base(role)?;
    let changes = whole.changes(request)?;
    let changes = changes.iter().map(|change| &change.change);
    let next = next_targets(role, base.as_ref(), changes, &request.revision, request.renew);
    let next = next.map_err(|error| Error::evidence(role, error))?;
    let history = match (&base, &next.document) {
        (Some(base), Some(next)) => remove(session, role, base, next, bounds.removals)?,
        _ => None,
    };
    drop(base);
    // A renewal must never fail for its size, though version and expiry may grow by a digit.
    let bytes_max = bounds.document_bytes_max;
    let bytes_max = if request.changes == 0 { (bytes_max + RENEWAL_BYTES).min(DOCUMENT_BYTES_MAX) } else { bytes_max };
    let document = next.document.map(|document| session.seal(role, &document, bytes_max)).transpose()?;
    Ok((Made { role: role.clone(), document, outcomes: next.outcomes }, history))
}

/// Counts what a document lists no more, where that is limited.
fn remove(
    session: &Session<'_, Memory>,
    role: &RoleName,
    base: &Targets,
    next: &Targets,
    limits: Limits,
) -> Result<Option<History>> {
    if !limits.is_any() {
        return Ok(None);
    }
    let removed = base.targets.keys().filter(|path| !next.targets.contains_key(*path)).count() as u64;
    let (artifacts, now) = (base.targets.len() as u64, session.now());
    let history = session.state().memory.of(role);
    let most = history.allowed(limits, artifacts, now);
    if removed > most {
        return Err(Error::TooManyRemovals { role: role.clone(), most, submissions: Vec::new() });
    }
    Ok(Some(history.after(artifacts, removed, now)))
}
