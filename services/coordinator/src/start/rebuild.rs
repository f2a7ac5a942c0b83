//! The start without a journal, on metadata that was published before: the journal's disk was lost. What clients see is
//! read back and verified; what signers signed beyond that is collected by the comparison that follows at every start.
//! Submissions that were acknowledged and not published are gone with the journal; nothing else is.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_api::{DocumentRef, convert::violation};
use rstuf_tuf::{Bins, Document, Envelope, Layout, RoleName, Root, Sha256, Snapshot, Targets, TrustedRoot, Version};
use uuid::Uuid;

use super::lifetimes;
use crate::{
    Error, Repository, Result,
    blocking::blocking,
    handles::Handles,
    journal::{
        Entry,
        rows::{Lifetimes, PublicationRow, RepositoryRow, RoleRow, TaskKind, TaskRow, TaskState},
    },
    published::repository::reference,
    publisher::{Publisher, TIMESTAMP_FILE, file_name},
};

/// The defaults of a ceremony, where nobody wrote down what it was given.
const LIFETIMES_DEFAULT: Lifetimes = Lifetimes {
    bins_seconds: 30 * DAY_SECONDS,
    snapshot_seconds: 7 * DAY_SECONDS,
    timestamp_seconds: DAY_SECONDS,
    targets_seconds: 365 * DAY_SECONDS,
};
const DAY_SECONDS: u64 = 24 * 3_600;

/// Fills an empty journal from what is published; does nothing if nothing is.
///
/// # Errors
/// [`Error::DocumentLost`] if a published document is missing or not validly signed.
pub(super) async fn rebuild(handles: &Handles) -> Result<()> {
    let (publisher, task) = (&*handles.publisher, handles.next_id());
    let Some(timestamp) = publisher.read(TIMESTAMP_FILE).await? else { return Ok(()) };
    tracing::warn!("there is no journal, but metadata is published: rebuilding the journal from it");
    let (first, newest, root) = read_roots(publisher).await?;
    let (repository, row) = read_repository(publisher, first, newest, &timestamp, root, task).await?;
    let roles = read_roles(publisher, &Arc::new(repository), &row, timestamp).await?;
    let now = handles.clock.now();
    let number = roles.iter().find(|(role, _)| *role == RoleName::timestamp()).map_or(0, |(_, row)| row.version.get());
    let publication = PublicationRow { number: number.into(), at: now };
    let id = row.id;
    let made = handles.read(move |journal| {
        let mut entry = Entry::new();
        entry.put_repository(&row);
        entry.put_publication(&publication);
        // Stands for the task of the ceremony, which was forgotten.
        let ceremony = TaskRow::new(TaskKind::Ceremony, now);
        entry.put_task(task, &TaskRow { state: TaskState::Done, finished: Some(now), ..ceremony });
        roles.iter().for_each(|(role, row)| entry.put_role(role, row));
        journal.store().bind_repository(*row.id.as_bytes())?;
        Ok((entry, roles))
    });
    let (entry, roles) = made.await?;
    handles.commit(entry).await?;
    handles.published.advance(publication, roles);
    tracing::warn!(
        repository = %id,
        "the journal is rebuilt: what was submitted and not published is lost"
    );
    Ok(())
}

/// The first root, the newest one, and what it says: each signed by the one before.
async fn read_roots(publisher: &dyn Publisher) -> Result<(Bytes, Bytes, Root)> {
    let first = read(publisher, &RoleName::root(), Version::ONE).await?;
    let root = first.clone();
    let trust = move || TrustedRoot::first(&root, None).map_err(|_| lost(&RoleName::root(), Version::ONE));
    let mut trusted = blocking(trust).await?;
    let mut newest = first.clone();
    while let Some(next) = trusted.version().next() {
        let Some(bytes) = publisher.read(&file_name(&RoleName::root(), next)).await? else { break };
        newest = bytes.clone();
        let follow = move || {
            trusted.follow(&bytes).map_err(|_| lost(&RoleName::root(), next))?;
            Ok(trusted)
        };
        trusted = blocking(follow).await?;
    }
    Ok((first, newest, trusted.root().clone()))
}

async fn read_repository(
    publisher: &dyn Publisher,
    first: Bytes,
    newest: Bytes,
    timestamp: &Bytes,
    root: Root,
    task: Uuid,
) -> Result<(Repository, RepositoryRow)> {
    let snapshot = read_snapshot(publisher, timestamp).await?.0;
    let version = snapshot.meta.get(&RoleName::targets()).map(|entry| entry.version);
    let version = version.ok_or_else(|| lost(&RoleName::snapshot(), snapshot.version))?;
    let bytes = read(publisher, &RoleName::targets(), version).await?;
    let digested = first.clone();
    let id = blocking(move || Ok(Sha256::of(&digested))).await?;
    let lifetimes = lifetimes::read(publisher, id).await?.unwrap_or_else(|| {
        tracing::warn!("the lifetimes of the ceremony are not beside what is published: the defaults hold");
        LIFETIMES_DEFAULT
    });
    blocking(move || {
        let envelope = Envelope::parse(&bytes).map_err(violation("targets"))?;
        let targets: Targets = envelope.decode().map_err(violation("targets"))?;
        let layout = layout_of(&targets)?;
        let offline = (layout != Layout::Flat).then(|| reference(&RoleName::targets(), &envelope));
        let row = RepositoryRow {
            id,
            layout: layout.to_string(),
            lifetimes,
            root: DocumentRef::of(RoleName::root(), root.version, &newest),
            targets: offline.clone(),
            task,
        };
        let repository = Repository::new(&row, &newest, offline.is_some().then_some(&bytes[..]))?;
        Ok((repository, row))
    })
    .await
}

/// The layout that these delegations make.
fn layout_of(targets: &Targets) -> Result<Layout> {
    let Some(delegations) = &targets.delegations else { return Ok(Layout::Flat) };
    let count = u32::try_from(delegations.role_count()).unwrap_or(u32::MAX);
    let bins = Bins::new(count).map_err(violation("targets")).map_err(Error::from)?;
    Ok(if delegations.as_succinct().is_some() { Layout::Succinct(bins) } else { Layout::Prefix(bins) })
}

async fn read_roles(
    publisher: &dyn Publisher,
    repository: &Arc<Repository>,
    row: &RepositoryRow,
    timestamp: Bytes,
) -> Result<Vec<(RoleName, RoleRow)>> {
    let (snapshot, snapshot_bytes) = read_snapshot(publisher, &timestamp).await?;
    let root = read(publisher, &RoleName::root(), row.root.version).await?;
    let mut roles = vec![
        verified(repository, RoleName::root(), root).await?,
        verified(repository, RoleName::snapshot(), snapshot_bytes).await?,
        verified(repository, RoleName::timestamp(), timestamp).await?,
    ];
    for (role, entry) in snapshot.meta {
        let bytes = read(publisher, &role, entry.version).await?;
        roles.push(verified(repository, role, bytes).await?);
    }
    Ok(roles)
}

async fn read_snapshot(publisher: &dyn Publisher, timestamp: &Bytes) -> Result<(Snapshot, Bytes)> {
    let unreadable = || Error::DocumentLost { name: TIMESTAMP_FILE.to_owned() };
    let timestamp: rstuf_tuf::Timestamp = parsed(timestamp.clone()).await?.ok_or_else(unreadable)?;
    let version = timestamp.snapshot.version;
    let bytes = read(publisher, &RoleName::snapshot(), version).await?;
    let snapshot = parsed(bytes.clone()).await?.ok_or_else(|| lost(&RoleName::snapshot(), version))?;
    Ok((snapshot, bytes))
}

/// None where it can't be read.
async fn parsed<D: Document + Send + 'static>(bytes: Bytes) -> Result<Option<D>> {
    blocking(move || Ok(Envelope::parse(&bytes).and_then(|envelope| envelope.decode()).ok())).await
}

async fn verified(repository: &Arc<Repository>, role: RoleName, bytes: Bytes) -> Result<(RoleName, RoleRow)> {
    let repository = repository.clone();
    blocking(move || {
        let refuse = |message: String| Error::field(role.as_str(), message);
        let envelope = Envelope::parse(&bytes).map_err(|error| refuse(error.to_string()))?;
        repository.verify(&role, &envelope).map_err(refuse)?;
        let DocumentRef { version, sha256, length, .. } = reference(&role, &envelope);
        Ok((role, RoleRow { version, sha256, length, expires: envelope.expires() }))
    })
    .await
}

async fn read(publisher: &dyn Publisher, role: &RoleName, version: Version) -> Result<Bytes> {
    publisher.read(&file_name(role, version)).await?.ok_or_else(|| lost(role, version))
}

fn lost(role: &RoleName, version: Version) -> Error {
    Error::DocumentLost { name: file_name(role, version) }
}
