//! The start: what the journal says, compared with what the targets signer says. The lane compares it with the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rstuf_api::DocumentRef;
use rstuf_tuf::{RoleName, Version};
use uuid::Uuid;

use crate::{
    Error, Repository, Result,
    batch::{changes::Changes, finish},
    blocking::blocking,
    collect::{collect, states},
    handles::Handles,
    intake::{Intake, queue::Selection},
    journal::{
        Entry, Journal,
        rows::{BatchRow, SignedDocument, SignedRoles},
    },
    signers::Group,
    troubles::Work,
};

/// The repository as the journal knows it; none before the ceremony.
///
/// # Errors
/// [`Error::DocumentLost`] if its root or its targets are not there any more.
pub(super) async fn load(handles: &Handles) -> Result<Option<Repository>> {
    let Some(row) = handles.read(Journal::repository).await? else { return Ok(None) };
    let root = handles.published.document(&row.root).await?;
    let targets = match &row.targets {
        Some(reference) => Some(handles.published.document(reference).await?),
        None => None,
    };
    blocking(move || Repository::new(&row, &root, targets.as_deref()).map(Some)).await
}

/// Asks the targets signer what it signed, before it is asked for more. Where it is ahead of the journal, that was lost
/// or restored: its newest documents are collected and published first, so that no version is ever used twice.
///
/// # Errors
/// What only a new process can mend.
pub(crate) async fn compare(handles: &Handles, intake: &Intake, repository: &Arc<Repository>) -> Result<()> {
    let attempt = || roll_forward(handles, intake, repository);
    if handles.until_done(Work::TargetsStart, Error::is_transient, attempt).await?.is_some() {
        handles.troubles.ended(Work::TargetsStart);
    }
    Ok(())
}

async fn roll_forward(handles: &Handles, intake: &Intake, repository: &Arc<Repository>) -> Result<()> {
    let states = states(handles, repository, Group::Targets).await?;
    let mut bases: Vec<DocumentRef> = states.into_iter().filter_map(|state| state.base).collect();
    // What is withdrawn is known as well, and to be seen by nobody.
    let withdrawn = handles.published.withdrawn();
    let known = |base: &DocumentRef| {
        let published = handles.published.role(&base.role).map(|row| row.version);
        withdrawn.get(&base.role).map(|document| document.version).max(published)
    };
    // Versions that the journal asked for and that the signer may therefore have signed.
    let mut planned: BTreeMap<RoleName, Version> = BTreeMap::new();
    if let Some(batch) = handles.batch().await? {
        planned.extend(batch.roles.into_iter().map(|plan| (plan.role, plan.revision.version)));
        let offline = batch.offline.into_iter().map(|document| document.reference);
        planned.extend(offline.map(|reference| (reference.role, reference.version)));
    }
    let is_ahead = |base: &DocumentRef| match planned.get(&base.role) {
        Some(planned) => base.version > *planned,
        None => Some(base.version) > known(base),
    };
    if !bases.iter().any(is_ahead) {
        return Ok(());
    }
    bases.retain(|base| Some(base.version) > known(base));
    tracing::warn!(roles = bases.len(), "the targets signer is ahead of the journal: collecting its newest documents");
    let roles: Vec<RoleName> = bases.into_iter().map(|base| base.role).collect();
    let documents = collect(handles, repository, Group::Targets, &roles).await?;
    handles.publisher.barrier().await?;
    let (repository, id) = (repository.clone(), handles.next_id());
    let replace = move |journal: &Journal| replace_batch(journal, repository, documents, id);
    let (entry, put_back) = handles.read(replace).await?;
    handles.commit(entry).await?;
    if let Some(selection) = put_back {
        handles.tasks.settled(&selection.tasks());
        intake.put_back(selection);
    }
    Ok(())
}

/// A batch of the collected documents takes the place of the one under way, whose submissions wait again: applying them
/// once more changes nothing that was signed already. Blocks.
fn replace_batch(
    journal: &Journal,
    repository: Arc<Repository>,
    documents: Vec<SignedDocument>,
    id: Uuid,
) -> Result<(Entry, Option<Selection>)> {
    let (mut offline, mut ceremony) = (Vec::new(), Vec::new());
    let mut selection = None;
    if let Some(batch) = journal.batch()? {
        let changes = Changes::new(journal, repository, &batch.submissions)?;
        let mut rest = finish::rest(&changes, &batch, &BTreeSet::new())?;
        // The first batch answers the ceremony, which has number 0.
        (ceremony, rest.publishes) = rest.publishes.into_iter().partition(|(seq, _)| *seq == 0);
        (offline, selection) = (batch.offline, Some(rest));
    }
    let offline_roles: BTreeSet<_> = offline.iter().map(|document| document.reference.role.clone()).collect();
    let documents =
        documents.into_iter().filter(|document| !offline_roles.contains(&document.reference.role)).collect();
    let mut entry = Entry::new();
    entry.set_batch(Some(&BatchRow {
        id,
        submissions: Vec::new(),
        publishes: ceremony,
        roles: Vec::new(),
        offline,
        refusals: 0,
        applied: None,
        signed: Some(SignedRoles { documents, ..SignedRoles::default() }),
    }));
    Ok((entry, selection))
}
