//! The start: what the journal says, compared with what the signers say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rstuf_api::{
    DocumentRef,
    proto::signer::v1::{DescribeSignerResponse, ListRoleStatesResponse},
};
use rstuf_tuf::{Envelope, RoleName, Version};

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    batch::finish,
    batch::plan::{Changes, next_version},
    coordinator::Shared,
    intake::queue::Selection,
    journal::{
        Entry, Journal,
        rows::{BatchRow, LaneRow, Revision, RoleRow, SignedDocument, SignedRoles},
    },
    published::Published,
    published::repository::reference,
    publisher::{NamedDocument, Publisher, file_name},
    signers::{Group, wrong},
};

/// Documents asked of a signer at a time.
const DOCUMENTS_PER_CALL: usize = 64;

/// The repository as the journal knows it; none before the ceremony.
///
/// # Errors
/// [`Error::DocumentLost`] if its root or its targets are not there any more.
pub(crate) async fn load(journal: &Journal, published: &Published) -> Result<Option<Repository>> {
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
pub(crate) async fn compare(shared: &Shared, publisher: &Arc<dyn Publisher>, repository: &Repository) -> Result<()> {
    let mut bases = Vec::new();
    for group in Group::ALL {
        let Some((signer, states)) = ask(shared, group).await else { return Ok(()) };
        check_repository(group, &signer, repository)?;
        let known = states.into_iter().filter_map(|state| DocumentRef::try_from(state.base?).ok());
        bases.extend(known.map(|base| (group, base)));
    }
    let published = |base: &DocumentRef| shared.published.role(&base.role).map(|row| row.version);
    let planned = planned(&shared.journal)?;
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
    roll_forward(shared, publisher, repository, bases).await
}

async fn ask(shared: &Shared, group: Group) -> Option<(DescribeSignerResponse, Vec<ListRoleStatesResponse>)> {
    let mut backoff = Backoff::new(shared.shutdown.clone());
    let both =
        async || Ok::<_, Error>((shared.signers.describe(group).await?, shared.signers.role_states(group).await?));
    loop {
        match both().await {
            Ok(answers) => return Some(answers),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the start waits for a signer");
                if !backoff.wait().await {
                    return None;
                }
            }
        }
    }
}

/// A signer of another repository would refuse everything, for ever. One that is not pinned says so itself.
fn check_repository(group: Group, signer: &DescribeSignerResponse, repository: &Repository) -> Result<()> {
    if signer.repository_id.is_empty() || signer.repository_id == repository.id.as_bytes().as_slice() {
        return Ok(());
    }
    let (found, wanted) = (hex::encode(&signer.repository_id), repository.id.to_string());
    Err(Error::OtherRepository { group: group.as_str(), found, wanted })
}

/// Versions that the journal asked for and that a signer may therefore have signed.
fn planned(journal: &Journal) -> Result<BTreeMap<RoleName, Version>> {
    let mut planned = BTreeMap::new();
    if let Some(batch) = journal.batch()? {
        planned.extend(batch.roles.into_iter().map(|plan| (plan.role, plan.version)));
        let offline = batch.offline.into_iter().map(|document| document.reference);
        planned.extend(offline.map(|reference| (reference.role, reference.version)));
    }
    if let Some(lane) = journal.lane()? {
        planned.extend(lane.snapshot.map(|revision| (RoleName::snapshot(), revision.version)));
        planned.extend(lane.timestamp.map(|revision| (RoleName::timestamp(), revision.version)));
    }
    Ok(planned)
}

/// Journals a run of the lane that publishes what was collected, on top of snapshot and timestamp as they were signed last,
/// though no client ever saw them.
async fn roll_forward(
    shared: &Shared,
    publisher: &Arc<dyn Publisher>,
    repository: &Repository,
    ahead: Vec<(Group, DocumentRef)>,
) -> Result<()> {
    let mut documents = Vec::new();
    let mut bases = Vec::new();
    for group in Group::ALL {
        let roles: Vec<RoleName> =
            ahead.iter().filter(|(of, _)| *of == group).map(|(_, base)| base.role.clone()).collect();
        for roles in roles.chunks(DOCUMENTS_PER_CALL) {
            let collected = collect(shared, publisher, repository, group, roles).await?;
            match group {
                Group::Targets => documents.extend(collected),
                Group::Snapshot | Group::Timestamp => bases.extend(collected),
            }
        }
    }
    publisher.barrier().await?;
    let mut entry = Entry::new();
    let rows: Vec<(RoleName, RoleRow)> = bases.into_iter().map(row).collect();
    rows.iter().for_each(|(role, row)| entry.put_role(role, row));
    shared.published.advance(shared.published.publication(), rows);
    entry.set_lane(Some(&lane(shared, repository, !documents.is_empty())?));
    let put_back = if documents.is_empty() { None } else { replace_batch(shared, repository, documents, &mut entry)? };
    shared.journal.commit_patiently(entry, &shared.shutdown).await?;
    if let Some(selection) = put_back {
        shared.intake.put_back(selection);
    }
    Ok(())
}

/// The next snapshot, and a timestamp after it.
fn lane(shared: &Shared, repository: &Repository, batch: bool) -> Result<LaneRow> {
    let (role, now) = (RoleName::snapshot(), shared.clock.now());
    let base = shared.published.role(&role).map(|row| row.reference(&role));
    let version = next_version(&role, base.as_ref().map(|base| base.version))?;
    let snapshot = Some(Revision { base, version, expires: repository.expiry(&role, now) });
    Ok(LaneRow { id: shared.ids.next(now), batch, snapshot, snapshot_document: None, timestamp: None })
}

/// A batch of the collected documents takes the place of the one under way, whose submissions wait again: applying them
/// once more changes nothing that was signed already.
fn replace_batch(
    shared: &Shared,
    repository: &Repository,
    documents: Vec<SignedDocument>,
    entry: &mut Entry,
) -> Result<Option<Selection>> {
    let replaced = shared.journal.batch()?;
    let (mut offline, mut ceremony) = (Vec::new(), Vec::new());
    let mut selection = None;
    if let Some(batch) = replaced {
        let changes = Changes::new(&shared.journal, Arc::new(repository.clone()), &batch.submissions)?;
        let mut rest = finish::rest(&changes, &batch, &BTreeSet::new())?;
        // The first batch answers the ceremony, which has number 0.
        (ceremony, rest.publishes) = rest.publishes.into_iter().partition(|(seq, _)| *seq == 0);
        (offline, selection) = (batch.offline, Some(rest));
    }
    let offline_roles: BTreeSet<_> = offline.iter().map(|document| document.reference.role.clone()).collect();
    let documents =
        documents.into_iter().filter(|document| !offline_roles.contains(&document.reference.role)).collect();
    entry.set_batch(Some(&BatchRow {
        id: shared.ids.next(shared.clock.now()),
        submissions: Vec::new(),
        publishes: ceremony,
        roles: Vec::new(),
        offline,
        applied: None,
        signed: Some(SignedRoles { documents, outcomes: BTreeMap::new() }),
    }));
    Ok(selection)
}

async fn collect(
    shared: &Shared,
    publisher: &Arc<dyn Publisher>,
    repository: &Repository,
    group: Group,
    roles: &[RoleName],
) -> Result<Vec<SignedDocument>> {
    let mut signed = Vec::new();
    for document in shared.signers.documents(group, roles).await? {
        let refuse = |message: String| wrong(group, &document.role, message);
        let role: RoleName = document.role.parse().map_err(|error: rstuf_tuf::Error| refuse(error.to_string()))?;
        let envelope = Envelope::parse(&document.envelope).map_err(|error| refuse(error.to_string()))?;
        repository.verify(&role, &envelope).map_err(refuse)?;
        signed.push(SignedDocument { reference: reference(&role, &envelope), expires: envelope.expires() });
        if role != RoleName::timestamp() {
            let name = file_name(&role, envelope.version());
            publisher.write(vec![NamedDocument { name, bytes: document.envelope.clone() }]).await?;
        }
    }
    match signed.len() == roles.len() {
        true => Ok(signed),
        false => Err(Error::SignerAnswer {
            group: group.as_str(),
            role: roles.first().map(ToString::to_string).unwrap_or_default(),
            message: format!("{} documents instead of {}", signed.len(), roles.len()),
        }),
    }
}

fn row(document: SignedDocument) -> (RoleName, RoleRow) {
    let DocumentRef { role, version, sha256, length } = document.reference;
    (role, RoleRow { version, sha256, length, expires: document.expires })
}
