//! What the snapshot signer checks before it signs.

use std::{collections::BTreeMap, sync::Arc};

use rstuf_signing::{Built, Delegator, Error, Made, Result, Session, State, rows};
use rstuf_store::Batch;
use rstuf_tuf::{DOCUMENT_BYTES_MAX, Delegations, MetaEntry, Outcomes, Revision, RoleName, Snapshot, next_snapshot};

use crate::{
    evidence::Evidence,
    memory::{Fact, Facts, Memory, fact_row},
};

/// Makes the next snapshot, after checking all that it would say. It lists length and digest of delegated roles where
/// the delegator names at most `hashed_roles_max` of them.
pub(crate) fn build(
    session: &Session<'_, Memory>,
    revision: &Revision,
    evidence: Evidence,
    hashed_roles_max: u64,
) -> Result<Built<Memory>> {
    let role = RoleName::snapshot();
    session.check(&role, revision)?;
    let memory = &session.state().memory;
    let changed = changed(session, &memory.facts, &evidence)?;
    let facts = Merged { known: &memory.facts, changed: &changed };
    let delegator = match &evidence.targets {
        Some(targets) => targets.delegator.clone(),
        None => session.trust().delegator().cloned(),
    };
    check_targets(session, &facts)?;
    check_live(&changed, delegator.as_deref())?;
    if let Some(delegations) = delegator.as_deref().map(|delegator| &delegator.delegations) {
        // Delegations are trusted only from a request on that was complete under them: later ones only add to that.
        match &evidence.targets {
            Some(_) => check_roles(delegations, &facts, delegations.role_names())?,
            None => check_roles(delegations, &facts, changed.keys().cloned())?,
        }
    }

    let (base, of_facts) = base(session)?;
    let (delegator_now, listed) = (delegator.as_deref(), base.as_deref());
    // A snapshot made of the facts lists them; only delegations change how.
    let entries = match of_facts && evidence.targets.is_none() {
        true => entries(changed.iter(), delegator_now, listed, hashed_roles_max),
        false => entries(facts.iter(), delegator_now, listed, hashed_roles_max),
    };
    let next = next_snapshot(base.as_deref(), entries, revision).map_err(refused)?;
    let document = session.seal(&role, &next, DOCUMENT_BYTES_MAX)?;

    let batch = remembered(&changed, &evidence);
    let known = document.complete.then(|| document.known.clone());
    let roles = vec![Made { role, document: Some(document), outcomes: Outcomes::default() }];
    let new_delegations = evidence.targets.is_some();
    let remember = move |state: &mut State<Memory>| {
        Arc::make_mut(&mut state.memory.facts).extend(changed);
        // One that is not the base does not leave another in its place: that would not list these facts.
        state.memory.base = known.map(|known| (known, Arc::new(next)));
        if let Some(trust) = state.trust.as_mut().filter(|_| new_delegations) {
            trust.set_delegator(delegator);
        }
    };
    Ok(Built { roles, batch, remember: Box::new(remember) })
}

/// What is kept of the evidence, durable together with the snapshot.
fn remembered(changed: &Facts, evidence: &Evidence) -> Batch {
    let mut batch = Batch::new();
    for (role, fact) in changed {
        batch.put(fact_row(role), rows::encode(fact));
    }
    match &evidence.targets {
        Some(targets) if targets.delegator.is_some() => batch.put(rows::DELEGATOR, targets.bytes.as_ref()),
        Some(_) => batch.delete(rows::DELEGATOR),
        None => &mut batch,
    };
    batch
}

/// Errors of the next snapshot are about the evidence that would enter it.
fn refused(error: rstuf_tuf::Error) -> Error {
    let role = error.role().cloned().unwrap_or_else(RoleName::snapshot);
    Error::evidence(&role, error)
}

/// The base, parsed once, and whether it was made of the facts as they are.
fn base(session: &Session<'_, Memory>) -> Result<(Option<Arc<Snapshot>>, bool)> {
    let state = session.state();
    let known = state.role(&RoleName::snapshot()).base;
    match &state.memory.base {
        Some((cached, snapshot)) if Some(cached) == known.as_ref() => Ok((Some(Arc::clone(snapshot)), true)),
        _ => Ok((session.base(&RoleName::snapshot())?.map(Arc::new), false)),
    }
}

/// The facts that change: no version falls, or rises too fast, one version has one content, and what is new has not
/// expired.
fn changed(session: &Session<'_, Memory>, known: &Facts, evidence: &Evidence) -> Result<Facts> {
    let mut changed = Facts::new();
    for (role, fact) in &evidence.facts {
        if let Some(old) = known.get(role) {
            let (least, offered) = (old.known.version, fact.known.version);
            if offered < least {
                return Err(refused(rstuf_tuf::Error::Rollback { role: role.clone(), least, offered }));
            }
            if old.known.sha256 == fact.known.sha256 {
                if old.keys != fact.keys {
                    changed.insert(role.clone(), Fact { keys: fact.keys.clone(), ..old.clone() });
                }
                continue;
            }
            if offered == least {
                return Err(refused(rstuf_tuf::Error::Contradiction { role: role.clone(), version: offered }));
            }
        }
        session.check_unexpired(role, &fact.known)?;
        let (budget, from) = known.get(role).map_or_else(Default::default, |old| (old.budget, old.known.version.get()));
        let budget = session.follow(role, budget, from.into(), fact.known.version)?;
        changed.insert(role.clone(), Fact { budget, ..fact.clone() });
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

    fn iter(&self) -> impl Iterator<Item = (&RoleName, &Fact)> {
        let known = self.known.iter().filter(|(role, _)| !self.changed.contains_key(*role));
        known.chain(self.changed)
    }
}

/// The signatures of top-level targets count under the newest root.
fn check_targets(session: &Session<'_, Memory>, facts: &Merged<'_>) -> Result<()> {
    let targets = RoleName::targets();
    let (_, keys) = session.trust().role_keys(&targets)?;
    let fact = facts.get(&targets).ok_or_else(|| Error::evidence(&targets, "no document was ever handed over"))?;
    if !fact.meets(keys) {
        return Err(Error::evidence(&targets, "its signatures don't meet the newest root: hand the document over"));
    }
    Ok(())
}

/// What was verified under delegations that this very request replaces does not count.
fn check_live(changed: &Facts, delegator: Option<&Delegator>) -> Result<()> {
    match changed.keys().find(|role| !is_live(role, delegator)) {
        Some(role) => Err(Error::wrong_role(role, "the top-level targets document does not delegate to it")),
        None => Ok(()),
    }
}

/// Whether a role is top-level or delegated to.
fn is_live(role: &RoleName, delegator: Option<&Delegator>) -> bool {
    role.top_level().is_some() || delegator.is_some_and(|it| it.delegations.role_keys(role).is_some())
}

/// Each of these roles, if it is delegated to, has a document whose signatures count under the keys that count now:
/// those of the delegations that this snapshot names.
fn check_roles(delegations: &Delegations, facts: &Merged<'_>, mut roles: impl Iterator<Item = RoleName>) -> Result<()> {
    roles.try_for_each(|role| {
        let Some(keys) = delegations.role_keys(&role) else { return Ok(()) };
        let fact = facts
            .get(&role)
            .ok_or_else(|| Error::evidence(&role, "it is delegated to, but no document of it was ever handed over"))?;
        if fact.meets(keys) {
            return Ok(());
        }
        let reason = "its signatures don't meet the delegation: hand the document over, after that of targets";
        Err(Error::evidence(&role, reason))
    })
}

/// The entries of facts that differ from the base's.
fn entries<'a>(
    facts: impl Iterator<Item = (&'a RoleName, &'a Fact)>,
    delegator: Option<&Delegator>,
    base: Option<&Snapshot>,
    hashed_roles_max: u64,
) -> BTreeMap<RoleName, MetaEntry> {
    let hashed = delegator.is_none_or(|it| it.delegations.role_count() <= hashed_roles_max);
    let entries = facts.filter_map(|(role, fact)| {
        let known = &fact.known;
        let listed = base.and_then(|base| base.meta.get(role));
        // A base that was loaded may know more of a role that nobody delegates to any more: its entry stays.
        if listed.is_some_and(|listed| listed.version > known.version) && !is_live(role, delegator) {
            return None;
        }
        let entry = if hashed || role.top_level().is_some() {
            MetaEntry::new(known.version, known.length, known.sha256)
        } else {
            MetaEntry::version_only(known.version)
        };
        (listed != Some(&entry)).then(|| (role.clone(), entry))
    });
    entries.collect()
}
