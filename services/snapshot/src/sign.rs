//! What the snapshot signer checks before it signs.

use std::collections::BTreeMap;
use std::sync::Arc;

use rstuf_signing::{Built, Delegator, Error, Made, Result, Revision, Session, State, state};
use rstuf_store::Batch;
use rstuf_tuf::{DOCUMENT_BYTES_MAX, MetaEntry, RoleName, Snapshot, TopLevel, next_snapshot};

use crate::evidence::Evidence;
use crate::memory::{Fact, Facts, Memory, fact_row};

/// What a request asks for, besides its evidence.
#[derive(Debug)]
pub(crate) struct Asked {
    pub revision: Revision,
    /// List length and digest of delegated roles.
    pub hash_delegated_roles: bool,
}

/// Makes the next snapshot, after checking all that it would say.
pub(crate) fn build(session: &Session<'_, Memory>, asked: &Asked, evidence: Evidence) -> Result<Built<Memory>> {
    let role = RoleName::snapshot();
    session.check(&role, &asked.revision)?;
    let memory = &session.state().memory;
    let changed = changed(session, &memory.facts, &evidence)?;
    let facts = Merged { known: &memory.facts, changed: &changed };
    let delegator = match &evidence.targets {
        Some(targets) => targets.delegator.clone(),
        None => session.trust().delegator().cloned(),
    };
    check_complete(session, &facts, delegator.as_deref())?;

    let base = base(session)?;
    let entries = entries(&facts, delegator.as_deref(), base.as_deref(), asked.hash_delegated_roles);
    let next = next_snapshot(base.as_deref(), entries, asked.revision.new).map_err(refused)?;
    let document = session.seal(&role, &next, DOCUMENT_BYTES_MAX)?;

    let mut batch = Batch::new();
    for (role, fact) in &changed {
        batch.put(fact_row(role), state::encode(fact));
    }
    match &evidence.targets {
        Some(targets) if targets.delegator.is_some() => batch.put(state::DELEGATOR, targets.bytes.as_ref()),
        Some(_) => batch.delete(state::DELEGATOR),
        None => &mut batch,
    };
    let known = document.complete.then(|| document.known.clone());
    let roles = vec![Made { role, document: Some(document), outcomes: Vec::new() }];
    let new_delegations = evidence.targets.is_some();
    let remember = move |state: &mut State<Memory>| {
        Arc::make_mut(&mut state.memory.facts).extend(changed);
        if let Some(known) = known {
            state.memory.base = Some((known, Arc::new(next)));
        }
        if let Some(trust) = state.trust.as_mut().filter(|_| new_delegations) {
            trust.set_delegator(delegator);
        }
    };
    Ok(Built { roles, batch, remember: Box::new(remember) })
}

/// Errors of the next snapshot are about the evidence that would enter it.
fn refused(error: rstuf_tuf::Error) -> Error {
    let role = match &error {
        rstuf_tuf::Error::Rollback { role, .. }
        | rstuf_tuf::Error::Contradiction { role, .. }
        | rstuf_tuf::Error::NotListed { role } => role.clone(),
        _ => RoleName::snapshot(),
    };
    Error::evidence(&role, error)
}

/// The base, parsed once.
fn base(session: &Session<'_, Memory>) -> Result<Option<Arc<Snapshot>>> {
    let state = session.state();
    let known = state.role(&RoleName::snapshot()).base;
    match &state.memory.base {
        Some((cached, snapshot)) if Some(cached) == known.as_ref() => Ok(Some(Arc::clone(snapshot))),
        _ => Ok(session.base(&RoleName::snapshot())?.map(Arc::new)),
    }
}

/// The facts that change: no version falls, one version has one content, and what is new has not expired.
fn changed(session: &Session<'_, Memory>, known: &Facts, evidence: &Evidence) -> Result<Facts> {
    let mut changed = Facts::new();
    for (role, fact) in &evidence.facts {
        if let Some(old) = known.get(role) {
            let (least, offered) = (old.known.version, fact.known.version);
            if offered < least {
                return Err(refused(rstuf_tuf::Error::Rollback { role: role.clone(), least, offered }));
            }
            if old.known.sha256 == fact.known.sha256 {
                if old != fact {
                    changed.insert(role.clone(), fact.clone());
                }
                continue;
            }
            if offered == least {
                return Err(refused(rstuf_tuf::Error::Contradiction { role: role.clone(), version: offered }));
            }
        }
        session.check_unexpired(role, &fact.known)?;
        changed.insert(role.clone(), fact.clone());
    }
    Ok(changed)
}

/// Facts as they will be.
struct Merged<'a> {
    known: &'a Facts,
    changed: &'a Facts,
}

impl Merged<'_> {
    fn get(&self, role: &RoleName) -> Option<&Fact> {
        self.changed.get(role).or_else(|| self.known.get(role))
    }
}

/// Every live role has a document whose signatures count under the keys that count now: those of the newest root, and of the
/// delegations that this snapshot names.
fn check_complete(session: &Session<'_, Memory>, facts: &Merged<'_>, delegator: Option<&Delegator>) -> Result<()> {
    let targets = RoleName::targets();
    let (_, keys) = session.trust().role_keys(&targets)?;
    let fact = facts.get(&targets).ok_or_else(|| Error::evidence(&targets, "no document was ever handed over"))?;
    if !fact.meets(keys) {
        return Err(Error::evidence(&targets, "its signatures don't meet the newest root: hand the document over"));
    }
    let Some(delegations) = delegator.map(|delegator| &delegator.delegations) else { return Ok(()) };
    for role in delegations.role_names() {
        let Some(keys) = delegations.role_keys(&role) else { continue };
        let fact = facts
            .get(&role)
            .ok_or_else(|| Error::evidence(&role, "it is delegated to, but no document of it was ever handed over"))?;
        if !fact.meets(keys) {
            let reason = "its signatures don't meet the delegation: hand the document over, after that of targets";
            return Err(Error::evidence(&role, reason));
        }
    }
    Ok(())
}

/// The entries that differ from the base's. Roles that are delegated to no longer keep theirs.
fn entries(
    facts: &Merged<'_>,
    delegator: Option<&Delegator>,
    base: Option<&Snapshot>,
    hash_delegated_roles: bool,
) -> BTreeMap<RoleName, MetaEntry> {
    let live = delegator.into_iter().flat_map(|delegator| delegator.delegations.role_names());
    let entries = std::iter::once(TopLevel::Targets.into()).chain(live).filter_map(|role| {
        let known = &facts.get(&role)?.known;
        let with_hashes = hash_delegated_roles || role.top_level().is_some();
        let entry = if with_hashes {
            MetaEntry::new(known.version, known.length, known.sha256)
        } else {
            MetaEntry::version_only(known.version)
        };
        let same = base.is_some_and(|base| base.meta.get(&role) == Some(&entry));
        (!same).then_some((role, entry))
    });
    entries.collect()
}
