//! The start: what the journal says, compared with what the signers say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rstuf_api::DocumentRef;
use rstuf_tuf::{RoleName, Version};

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    batch::{changes::Changes, finish, plan::next_revision},
    collect::collect,
    handles::Handles,
    intake::{Intake, queue::Selection},
    journal::{
        Entry, Journal,
        rows::{BatchRow, LaneRow, RoleRow, SignedDocument, SignedRoles},
    },
    published::Published,
    signers::{Description, Group, RoleState},
    troubles::Work,
};

/// The repository as the journal knows it; none before the ceremony.
///
/// # Errors
/// [`Error::DocumentLost`] if its root or its targets are not there any more.
pub(super) async fn load(journal: &Journal, published: &Published) -> Result<Option<Repository>> {
    let Some(row) = journal.repository()? else { return Ok(None) };
    let root = published.document(&row.root).await?;
    let targets = match &row.targets {
        Some(reference) => Some(published.document(reference).await?),
        None => None,
    };
    Repository::new(&row, &root, targets.as_deref()).map(Some)
}

/// Asks every signer what it signed. Where one is ahead of the journal, the journal was lost or restored: its newest
/// documents are collected and published before any other work, so that no version is ever used twice.
///
/// # Errors
/// What only a new process can mend.
pub(super) async fn compare(handles: &Handles, intake: &Intake, repository: &Repository) -> Result<()> {
    let mut bases = Vec::new();
    for group in Group::ALL {
        let Some((signer, states)) = ask(handles, group).await else { return Ok(()) };
        check_repository(group, &signer, repository)?;
        let known = states.into_iter().filter_map(|state| state.base);
        bases.extend(known.map(|base| (group, base)));
    }
    let published = |base: &DocumentRef| handles.published.role(&base.role).map(|row| row.version);
    let planned = planned(&handles.journal)?;
    let is_ahead = |base: &DocumentRef| Some(base.version) > published(base).max(planned.get(&base.role).copied());
    if !bases.iter().any(|(_, base)| is_ahead(base)) {
        return Ok(());
    }
    // If the targets signer went on without the batch under way, that batch has to be planned again, on top of all that
    // was signed and not published.
    let replan = bases.iter().any(|(group, base)| *group == Group::Targets && is_ahead(base));
    let collected = |(group, base): &(Group, DocumentRef)| match group {
        Group::Targets => replan && Some(base.version) > published(base),
        Group::Snapshot | Group::Timestamp => Some(base.version) > published(base),
    };
    bases.retain(collected);
    tracing::warn!(roles = bases.len(), "signers are ahead of the journal: collecting their newest documents");
    roll_forward(handles, intake, repository, bases).await
}

async fn ask(handles: &Handles, group: Group) -> Option<(Description, Vec<RoleState>)> {
    let mut backoff = Backoff::new(handles.shutdown.clone());
    let both =
        async || Ok::<_, Error>((handles.signers.describe(group).await?, handles.signers.role_states(group).await?));
    loop {
        match both().await {
            Ok(answers) => {
                handles.troubles.ended(Work::Start);
                return Some(answers);
            }
            Err(error) => {
                handles.troubles.happened(Work::Start, &error);
                if !backoff.wait().await {
                    return None;
                }
            }
        }
    }
}

/// A signer of another repository would refuse everything, for ever. One that is not pinned says so itself.
fn check_repository(group: Group, signer: &Description, repository: &Repository) -> Result<()> {
    match &signer.repository_id {
        Some(id) if *id != repository.id.as_bytes().as_slice() => {
            Err(Error::OtherRepository { group, found: hex::encode(id), wanted: repository.id.to_string() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Versions that the journal asked for and that a signer may therefore have signed.
fn planned(journal: &Journal) -> Result<BTreeMap<RoleName, Version>> {
    let mut planned = BTreeMap::new();
    if let Some(batch) = journal.batch()? {
        planned.extend(batch.roles.into_iter().map(|plan| (plan.role, plan.revision.version)));
        let offline = batch.offline.into_iter().map(|document| document.reference);
        planned.extend(offline.map(|reference| (reference.role, reference.version)));
    }
    if let Some(lane) = journal.lane()? {
        planned.extend(lane.snapshot.map(|revision| (RoleName::snapshot(), revision.version)));
        planned.extend(lane.timestamp.map(|revision| (RoleName::timestamp(), revision.version)));
    }
    Ok(planned)
}

/// Journals a run of the lane that publishes what was collected, on top of snapshot and timestamp as they were signed
/// last, though no client ever saw them.
async fn roll_forward(
    handles: &Handles,
    intake: &Intake,
    repository: &Repository,
    ahead: Vec<(Group, DocumentRef)>,
) -> Result<()> {
    let mut documents = Vec::new();
    let mut bases = Vec::new();
    for group in Group::ALL {
        let roles: Vec<RoleName> =
            ahead.iter().filter(|(of, _)| *of == group).map(|(_, base)| base.role.clone()).collect();
        let collected = collect(handles, repository, group, &roles).await?;
        match group {
            Group::Targets => documents.extend(collected),
            Group::Snapshot | Group::Timestamp => bases.extend(collected),
        }
    }
    handles.publisher.barrier().await?;
    let mut entry = Entry::new();
    let rows: Vec<(RoleName, RoleRow)> = bases.into_iter().map(SignedDocument::into_row).collect();
    rows.iter().for_each(|(role, row)| entry.put_role(role, row));
    handles.published.advance(handles.published.publication(), rows);
    entry.set_lane(Some(&lane(handles, repository, !documents.is_empty())?));
    let put_back = if documents.is_empty() { None } else { replace_batch(handles, repository, documents, &mut entry)? };
    handles.commit(entry).await?;
    if let Some(selection) = put_back {
        handles.tasks.settled(&selection.tasks());
        intake.put_back(selection);
    }
    Ok(())
}

/// The next snapshot, and a timestamp after it.
fn lane(handles: &Handles, repository: &Repository, batch: bool) -> Result<LaneRow> {
    let now = handles.clock.now();
    let snapshot = Some(next_revision(repository, &handles.published, &RoleName::snapshot(), now)?);
    Ok(LaneRow {
        id: handles.ids.next(now),
        batch,
        snapshot,
        snapshot_document: None,
        timestamp: None,
        refresh: None,
        collected: Vec::new(),
    })
}

/// A batch of the collected documents takes the place of the one under way, whose submissions wait again: applying them
/// once more changes nothing that was signed already.
fn replace_batch(
    handles: &Handles,
    repository: &Repository,
    documents: Vec<SignedDocument>,
    entry: &mut Entry,
) -> Result<Option<Selection>> {
    let replaced = handles.journal.batch()?;
    let (mut offline, mut ceremony) = (Vec::new(), Vec::new());
    let mut selection = None;
    if let Some(batch) = replaced {
        let changes = Changes::new(&handles.journal, Arc::new(repository.clone()), &batch.submissions)?;
        let mut rest = finish::rest(&changes, &batch, &BTreeSet::new())?;
        // The first batch answers the ceremony, which has number 0.
        (ceremony, rest.publishes) = rest.publishes.into_iter().partition(|(seq, _)| *seq == 0);
        (offline, selection) = (batch.offline, Some(rest));
    }
    let offline_roles: BTreeSet<_> = offline.iter().map(|document| document.reference.role.clone()).collect();
    let documents =
        documents.into_iter().filter(|document| !offline_roles.contains(&document.reference.role)).collect();
    entry.set_batch(Some(&BatchRow {
        id: handles.next_id(),
        submissions: Vec::new(),
        publishes: ceremony,
        roles: Vec::new(),
        offline,
        applied: None,
        signed: Some(SignedRoles { documents, outcomes: BTreeMap::new() }),
    }));
    Ok(selection)
}
