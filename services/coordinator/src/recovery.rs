//! The start: what the journal says, compared with what the signers say.

use std::{collections::BTreeMap, sync::Arc};

use rstuf_api::{DocumentRef, proto::signer::v1::ListRoleStatesResponse};
use rstuf_tuf::{Envelope, RoleName, Version};

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    coordinator::Shared,
    journal::{
        Entry, Journal,
        rows::{BatchRow, RoleRow, SignedDocument, SignedRoles},
    },
    published::Published,
    publisher::{NamedDocument, Publisher, file_name},
    repository::reference,
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
    let mut ahead = Vec::new();
    for group in Group::ALL {
        let Some(states) = ask(shared, group).await else { return Ok(()) };
        let planned = planned(&shared.journal)?;
        for state in states {
            let Some(base) = state.base.and_then(|base| DocumentRef::try_from(base).ok()) else { continue };
            let published = shared.published.role(&base.role).map(|row| row.version);
            let known = published.max(planned.get(&base.role).copied());
            if known.is_none_or(|known| base.version > known) {
                ahead.push((group, base.role));
            }
        }
    }
    if ahead.is_empty() {
        return Ok(());
    }
    tracing::warn!(roles = ahead.len(), "signers are ahead of the journal: collecting their newest documents");
    roll_forward(shared, publisher, repository, ahead).await
}

async fn ask(shared: &Shared, group: Group) -> Option<Vec<ListRoleStatesResponse>> {
    let mut backoff = Backoff::new(shared.shutdown.clone());
    loop {
        match shared.signers.role_states(group).await {
            Ok(states) => return Some(states),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the start waits for a signer");
                if !backoff.wait().await {
                    return None;
                }
            }
        }
    }
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

async fn roll_forward(
    shared: &Shared,
    publisher: &Arc<dyn Publisher>,
    repository: &Repository,
    ahead: Vec<(Group, RoleName)>,
) -> Result<()> {
    let mut entry = Entry::new();
    let mut documents = Vec::new();
    let mut bases = Vec::new();
    for group in Group::ALL {
        let roles: Vec<RoleName> = ahead.iter().filter(|(of, _)| *of == group).map(|(_, role)| role.clone()).collect();
        for roles in roles.chunks(DOCUMENTS_PER_CALL) {
            let collected = collect(shared, publisher, repository, group, roles).await?;
            match group {
                Group::Targets => documents.extend(collected),
                // The next snapshot and timestamp stand on these, though no client ever saw them.
                Group::Snapshot | Group::Timestamp => bases.extend(collected),
            }
        }
    }
    publisher.barrier().await?;
    let rows: Vec<(RoleName, RoleRow)> = bases.into_iter().map(row).collect();
    rows.iter().for_each(|(role, row)| entry.put_role(role, row));
    if shared.journal.batch()?.is_none() {
        let id = uuid::Uuid::nil();
        let signed = Some(SignedRoles { documents, outcomes: BTreeMap::new() });
        let batch = BatchRow {
            id,
            submissions: Vec::new(),
            publishes: Vec::new(),
            roles: Vec::new(),
            offline: Vec::new(),
            applied: None,
            signed,
        };
        entry.set_batch(Some(&batch));
    }
    shared.journal.commit_patiently(entry, &shared.shutdown).await?;
    shared.published.advance(shared.published.publication(), rows);
    Ok(())
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
