//! Imports in steps: what is appended is journalled in parts, and acknowledged together. Their rows stand in the
//! journal beside the parts, so they outlive the process.

use std::sync::Arc;

use jiff::Timestamp;
use rstuf_api::{RequestId, digest};
use rstuf_tuf::Sha256;
use uuid::Uuid;

use super::{
    door::Door,
    open::{Turn, expiry, opened},
    queue::{self, Load},
    request::{Kind, refusal, used},
    state::State,
};
use crate::{
    Error, Result,
    blocking::blocking,
    journal::{
        EncodedChanges, Entry,
        rows::{Appended, Body, ImportRow, TaskKind},
    },
    space::INTAKE_LEAVES,
};

/// Parts of one import: its rows are deleted together.
const PARTS_MAX: u32 = 10_000;

/// All open imports. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Imports {
    state: Arc<State>,
    door: Door,
}

/// How an import stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenImport {
    /// Its id, and that of its task to be.
    pub id: Uuid,
    /// As the caller gave it.
    pub request_id: Option<RequestId>,
    /// Whether it will be held.
    pub hold: bool,
    /// Changes that it has.
    pub next_offset: u64,
    /// Digest of those.
    pub digest: Sha256,
    /// When it lapses.
    pub expires: Timestamp,
}

impl OpenImport {
    fn new(id: Uuid, row: &ImportRow) -> Self {
        Self {
            id,
            request_id: row.request_id.clone(),
            hold: row.hold,
            next_offset: row.changes,
            digest: row.digest,
            expires: expiry(row),
        }
    }
}

impl Imports {
    pub(super) fn new(state: Arc<State>, door: Door) -> Self {
        Self { state, door }
    }

    /// Opens one. The same request id is answered with the same one, unless it is `one_call`'s: such an import ends
    /// with the call that streams it, and no start goes on with it.
    ///
    /// # Errors
    /// [`Error::NoCeremony`], [`Error::Full`], [`Error::DiskFull`], [`Error::RequestIdUsed`], [`Error::RequestIdOpen`].
    pub(crate) async fn create(&self, request_id: Option<RequestId>, hold: bool, one_call: bool) -> Result<OpenImport> {
        self.delete_lapsed().await?;
        let this = self.clone();
        detached(async move { this.create_row(request_id, hold, one_call).await }).await
    }

    async fn create_row(&self, request_id: Option<RequestId>, hold: bool, one_call: bool) -> Result<OpenImport> {
        // Also, one is opened at a time, so that no more are opened than may be.
        let _request_ids = self.state.request_ids.lock().await;
        let now = self.state.clock.now();
        if let Some(id) = &request_id {
            match self.state.open.find(id, now) {
                Some((import, row)) if row.hold == hold && !one_call => return Ok(OpenImport::new(import, &row)),
                Some((import, _)) => return Err(opened(id, import)),
                None => {}
            }
            let (journal, request_id) = (self.state.journal.clone(), id.clone());
            let earlier = blocking(move || journal.used(request_id.as_str())).await?;
            if let Some((row, kind)) = earlier.filter(|_| !one_call) {
                return Err(used(id, &row, kind));
            }
        }
        self.state.admit(Load { submissions: 1, ..Load::default() }, hold)?;
        self.state.open.admit_one(now)?;
        let (id, row) = (self.state.next_id(), empty(request_id, hold, one_call, now));
        let mut entry = Entry::new();
        entry.leave(INTAKE_LEAVES);
        entry.put_import(id, &row);
        self.state.commit(entry).await.map_err(|error| refusal(&error))?;
        let created = OpenImport::new(id, &row);
        self.state.open.put(id, row);
        Ok(created)
    }

    /// Appends changes at `offset`; durable when it returns. The last ones again are answered the same.
    ///
    /// # Errors
    /// [`Error::NoImport`], [`Error::ImportCommitted`], [`Error::ImportOffset`], [`Error::Invalid`], [`Error::Full`],
    /// [`Error::DiskFull`]; nothing changed then.
    pub(crate) async fn append(&self, id: Uuid, offset: u64, changes: EncodedChanges) -> Result<OpenImport> {
        let this = self.clone();
        detached(async move { this.append_part(id, offset, changes).await }).await
    }

    async fn append_part(&self, id: Uuid, offset: u64, changes: EncodedChanges) -> Result<OpenImport> {
        let (_turn, row) = self.take_turn(id).await?;
        let (before, after) = (row.previous.filter(|before| before.offset == offset), row.digest);
        let elsewhere = || Error::ImportOffset { id: id.to_string(), offset, next_offset: row.changes };
        if offset != row.changes && before.is_none() {
            return Err(elsewhere());
        }
        let digest = move || {
            let again = before.is_some_and(|before| changes.digest(before.digest) == after);
            Ok((again, changes.digest(after), changes))
        };
        let (again, digest, changes) = blocking(digest).await?;
        if again {
            return Ok(OpenImport::new(id, &row));
        }
        if offset != row.changes {
            return Err(elsewhere());
        }
        let now = self.state.clock.now();
        let (part, bytes) = (row.parts, changes.as_bytes().len() as u64);
        let row = ImportRow {
            previous: Some(Appended { offset, digest: row.digest }),
            digest,
            changes: row.changes + changes.count(),
            bytes: row.bytes + bytes,
            parts: row.parts + 1,
            touched: now,
            ..row
        };
        self.check(&row)?;
        let _reserved = self.state.open.reserve(id, bytes, now)?;
        let mut entry = Entry::new();
        entry.leave(INTAKE_LEAVES);
        entry.put_part(id, part, changes);
        entry.put_import(id, &row);
        self.state.commit(entry).await.map_err(|error| refusal(&error))?;
        let appended = OpenImport::new(id, &row);
        self.state.open.put(id, row);
        Ok(appended)
    }

    /// The bounds that an import must keep by itself.
    fn check(&self, row: &ImportRow) -> Result<()> {
        let max = queue::BYTES_PER_BATCH_MAX;
        if row.bytes > max {
            return Err(Error::field("changes", format!("more than {max} bytes in one import: make two of it")));
        }
        if row.parts > PARTS_MAX {
            let description = format!("more than {PARTS_MAX} calls for one import: append more changes at a time");
            return Err(Error::field("changes", description));
        }
        let load = Load { submissions: 1, changes: row.changes, bytes: row.bytes };
        self.state.queue().admit(load, row.hold, Load::default(), Load::default())
    }

    /// How an import stands. Blocks, unless it is open.
    ///
    /// # Errors
    /// [`Error::NoImport`], [`Error::ImportCommitted`].
    pub(crate) fn get(&self, id: Uuid) -> Result<OpenImport> {
        self.row(id).map(|row| OpenImport::new(id, &row))
    }

    /// How the import with a request id stands. Blocks, unless it is open.
    ///
    /// # Errors
    /// As [`Imports::get`].
    pub(crate) fn get_by_request(&self, request_id: &RequestId) -> Result<OpenImport> {
        if let Some((id, row)) = self.state.open.find(request_id, self.state.clock.now()) {
            return Ok(OpenImport::new(id, &row));
        }
        let none = || Error::NoImport { id: request_id.to_string() };
        let task = self.state.journal.request(request_id.as_str())?.ok_or_else(none)?.task;
        self.get(task).map_err(|error| match error {
            Error::NoImport { .. } => none(),
            other => other,
        })
    }

    /// Acknowledges the whole import; also when it was already. Where `offset` says how many changes it has, only if it
    /// has those: somebody else may have appended to it.
    ///
    /// # Errors
    /// [`Error::NoImport`], [`Error::ImportCommitted`] with other changes; [`Error::ImportOffset`], and as for a
    /// submission: then the import stays open.
    pub(crate) async fn commit(&self, id: Uuid, offset: Option<u64>) -> Result<Uuid> {
        let this = self.clone();
        detached(async move { this.commit_row(id, offset).await }).await
    }

    async fn commit_row(&self, id: Uuid, offset: Option<u64>) -> Result<Uuid> {
        let is_other = |changes| offset.is_some_and(|offset| offset != changes);
        let (_turn, row) = match self.take_turn(id).await {
            Ok(taken) => taken,
            Err(committed @ Error::ImportCommitted { .. }) => {
                let journal = self.state.journal.clone();
                let task = blocking(move || journal.named_task(id)).await?;
                return if is_other(task.changes) { Err(committed) } else { Ok(id) };
            }
            Err(error) => return Err(error),
        };
        if let Some(offset) = offset.filter(|_| is_other(row.changes)) {
            return Err(Error::ImportOffset { id: id.to_string(), offset, next_offset: row.changes });
        }
        if row.changes == 0 {
            return Err(Error::field("changes", "the import is empty, allowed is at least one change"));
        }
        let (request_id, body) = (row.request_id.clone(), Body { digest: row.digest, hold: row.hold });
        let asks_for_paths = row.hold || self.state.queue().asks_for_paths();
        let paths = if asks_for_paths { Some(self.state.stored_paths(id, row.parts).await?) } else { None };
        let task = self.door.ask(id, Kind::Import { row }, paths, request_id, body).await?;
        // Another one where the request id of an import in one call is known with the same body.
        if task == id {
            self.state.open.remove(id);
        }
        Ok(task)
    }

    /// Drops an import.
    ///
    /// # Errors
    /// [`Error::NoImport`], [`Error::ImportCommitted`], [`Error::DiskFull`].
    pub(crate) async fn delete(&self, id: Uuid) -> Result<()> {
        let this = self.clone();
        detached(async move {
            let (_turn, row) = this.take_turn(id).await?;
            this.remove(id, &row).await
        })
        .await
    }

    /// Drops the imports that have lapsed.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Stopping`].
    pub(crate) async fn delete_lapsed(&self) -> Result<()> {
        let this = self.clone();
        detached(async move {
            for id in this.state.open.lapsed(this.state.clock.now()).into_keys() {
                let _turn = this.state.open.turn(id).await;
                // Meanwhile somebody who came in time may have gone on with it, or somebody else deleted it.
                if let Some(row) = this.state.open.lapsed(this.state.clock.now()).remove(&id) {
                    this.remove(id, &row).await?;
                    let changes = row.changes;
                    tracing::info!(import = %id, changes, "an import with which nobody went on is deleted");
                }
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, id: Uuid, row: &ImportRow) -> Result<()> {
        let mut entry = Entry::new();
        entry.delete_import(id);
        (0..row.parts).for_each(|part| entry.delete_part(id, part));
        self.state.commit(entry).await.map_err(|error| refusal(&error))?;
        self.state.open.remove(id);
        Ok(())
    }

    /// Waits for the turn to change an import, and answers how it stands then.
    async fn take_turn(&self, id: Uuid) -> Result<(Option<Turn>, ImportRow)> {
        let turn = self.state.open.turn(id).await;
        let row = match self.state.open.row(id, self.state.clock.now()) {
            Some(row) => row,
            None => {
                let imports = self.clone();
                blocking(move || imports.row(id)).await?
            }
        };
        Ok((turn, row))
    }

    /// How it stands, or why not. Blocks, unless it is open.
    fn row(&self, id: Uuid) -> Result<ImportRow> {
        if let Some(row) = self.state.open.row(id, self.state.clock.now()) {
            return Ok(row);
        }
        match self.state.journal.task(id)? {
            Some(row) if row.kind == TaskKind::Import => Err(Error::ImportCommitted { id: id.to_string() }),
            _ => Err(Error::NoImport { id: id.to_string() }),
        }
    }
}

/// An import without changes.
fn empty(request_id: Option<RequestId>, hold: bool, one_call: bool, touched: Timestamp) -> ImportRow {
    let digest = digest::OF_NOTHING;
    ImportRow { request_id, hold, one_call, changes: 0, bytes: 0, parts: 0, digest, previous: None, touched }
}

/// Goes on to its end, within the caller's trace, also if the caller goes away, so that what stands in memory is what
/// is journalled.
pub(super) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    rstuf_runtime::detached(work).await.map_err(|_| Error::Stopping)?
}
