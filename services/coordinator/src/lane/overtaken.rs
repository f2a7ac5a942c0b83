//! Snapshot and timestamp signers that signed for somebody else. Whoever reaches a signer may have it sign within its
//! rules: what it signed is the base from then on, and what its snapshot lists is published, so that clients find all
//! of it.

use std::{collections::BTreeMap, sync::Arc};

use rstuf_tuf::{Revision, RoleName, Snapshot, Version};

use super::run::Run;
use crate::{
    Repository, Result,
    batch::plan::{next_revision, revision_above},
    collect::collect,
    handles::Handles,
    journal::rows::{LaneRow, SignedDocument},
    published::Published,
    signers::{Group, RoleState, wrong},
};

/// The run above all that the signers of snapshot and timestamp have signed, with every document that their newest
/// snapshot lists and that is neither published nor the run's own.
///
/// # Errors
/// As signers' calls; [`crate::Error::SignerAnswer`] for a snapshot that lists what no signer has.
pub(super) async fn above(handles: &Handles, repository: &Arc<Repository>, run: &Run) -> Result<LaneRow> {
    let (snapshot, timestamp) = (RoleName::snapshot(), RoleName::timestamp());
    let states =
        [state(handles, Group::Snapshot, &snapshot).await?, state(handles, Group::Timestamp, &timestamp).await?];
    let by_role = |document: SignedDocument| (document.reference.role.clone(), document);
    let mut collected: BTreeMap<_, _> = run.row.collected.iter().cloned().map(by_role).collect();
    for document in collect(handles, repository, Group::Snapshot, &based(&states[0])).await? {
        handles.publisher.barrier().await?;
        let listed: Snapshot = handles.published.read_document(&document.reference).await?;
        let unknown = unknown(&handles.published, &run.documents(), &listed);
        let documents = collect(handles, repository, Group::Targets, &unknown).await?;
        handles.publisher.barrier().await?;
        check_listed(&listed, &documents)?;
        collected.extend(documents.into_iter().map(by_role));
    }
    let [snapshot_state, timestamp_state] = &states;
    Ok(LaneRow {
        id: handles.next_id(),
        batch: run.row.batch,
        snapshot: Some(next(handles, repository, snapshot_state)?),
        snapshot_document: None,
        timestamp: Some(next(handles, repository, timestamp_state)?),
        refresh: None,
        collected: collected.into_values().collect(),
    })
}

/// The timestamp above all that its signer has signed.
///
/// # Errors
/// As signers' calls.
pub(super) async fn next_timestamp(handles: &Handles, repository: &Repository) -> Result<Revision> {
    next(handles, repository, &state(handles, Group::Timestamp, &RoleName::timestamp()).await?)
}

/// The version above what is published and what the signer has signed. One that is behind what is published learns of
/// it by the base that it is asked to go on from, and must not give a version twice.
fn next(handles: &Handles, repository: &Repository, state: &RoleState) -> Result<Revision> {
    let now = handles.clock.now();
    match handles.published.role(&state.role) {
        Some(row) if row.version.get() >= state.highest() => {
            next_revision(repository, &handles.published, &state.role, now)
        }
        _ => revision_above(state, repository.expiry(&state.role, now)),
    }
}

/// Roles that a snapshot lists in a version that is neither published nor among `documents`.
pub(super) fn unknown(published: &Published, documents: &[SignedDocument], snapshot: &Snapshot) -> Vec<RoleName> {
    let own: BTreeMap<&RoleName, Version> =
        documents.iter().map(|document| (&document.reference.role, document.reference.version)).collect();
    let mut differing = published.differing(snapshot);
    differing.retain(|role| own.get(role).copied() != snapshot.meta.get(role).map(|entry| entry.version));
    differing
}

async fn state(handles: &Handles, group: Group, role: &RoleName) -> Result<RoleState> {
    let states = handles.signers.role_states(group).await?;
    let none = RoleState { role: role.clone(), base: None, watermark: 0 };
    Ok(states.into_iter().find(|state| state.role == *role).unwrap_or(none))
}

/// The role, if there is a document of it.
fn based(state: &RoleState) -> Vec<RoleName> {
    state.base.iter().map(|base| base.role.clone()).collect()
}

/// What no signer has can't be published: an operator has to find out who made that snapshot.
fn check_listed(snapshot: &Snapshot, documents: &[SignedDocument]) -> Result<()> {
    for SignedDocument { reference, .. } in documents {
        let listed = snapshot.meta.get(&reference.role).map(|entry| entry.version);
        if Some(reference.version) < listed {
            let message =
                format!("it lists a version of {} above {}, the newest one", reference.role, reference.version);
            return Err(wrong(Group::Snapshot, RoleName::snapshot().as_str(), message));
        }
    }
    Ok(())
}
