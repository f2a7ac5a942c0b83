//! What the targets signer checks before it signs.

use rstuf_signing::{Built, Error, Made, Result, Session, State, parallel, rows};
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
const FRAME_BYTES: u64 = 512;
/// Documents of one request that stay in memory until they are durable, in bytes.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

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

/// Makes the next document of every role, or of none. Those of a large request go to the disk as they are made, so that
/// memory does not grow with it.
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
    let mut making = Making::default();
    making.all(session, request, bounds, progress)?;
    making.check(session, request, bounds)?;
    let Making { made, histories, .. } = making;
    let mut batch = Batch::new();
    for (role, history) in &histories {
        batch.put(removals::row(role), rows::encode(history));
    }
    let remember = move |state: &mut State<Memory>| state.memory.removals.extend(histories);
    Ok(Built { roles: made, batch, remember: Box::new(remember) })
}

/// What becomes of a request.
#[derive(Default)]
struct Making<'a> {
    made: Vec<Made>,
    histories: Vec<(RoleName, History)>,
    /// Roles whose document would be too large.
    overflowing: Vec<&'a RoleRequest>,
    /// Roles that would lose more than so many.
    emptied: Vec<(&'a RoleRequest, u64)>,
}

impl<'a> Making<'a> {
    fn all(
        &mut self,
        session: &Session<'_, Memory>,
        request: &'a SigningRequest,
        bounds: Bounds,
        progress: &Progress,
    ) -> Result<()> {
        let is_large = is_large(session, &request.roles);
        let made = parallel::map(&request.roles, |role| {
            let made = make(session, request, role, bounds, is_large);
            progress.made();
            made
        });
        for (role, result) in request.roles.iter().zip(made) {
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

/// Whether the documents of these roles are too much for memory together, by the sizes of their bases and changes.
fn is_large(session: &Session<'_, Memory>, roles: &[RoleRequest]) -> bool {
    let bytes = |request: &RoleRequest| {
        let base = session.state().roles.get(&request.role).and_then(|state| state.base.as_ref());
        let changes = request.place.end - request.place.start;
        base.map_or(0, |base| base.length) + changes + FRAME_BYTES * (1 + request.changes as u64)
    };
    roles.iter().map(bytes).fold(0, u64::saturating_add) > MEMORY_BYTES_MAX
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
    is_large: bool,
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
    let mut document = next.document.map(|document| session.seal(role, &document, bytes_max)).transpose()?;
    if let Some(document) = document.as_mut().filter(|_| is_large) {
        session.write_ahead(document)?;
    }
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
