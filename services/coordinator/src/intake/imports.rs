//! Open imports: what is appended is journalled in parts, and acknowledged together. Their rows stand in the journal beside the
//! parts, so they outlive the process. Few are open at a time, so one lock is enough for all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rstuf_api::RequestId;
use tokio::sync::Mutex;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    door::Door,
    queue::{self, Load},
    request::{Kind, body_digest, refusal},
    state::State,
};
use crate::{
    Error, Result,
    journal::{
        EncodedChanges, Entry,
        rows::{Appended, ImportRow, TaskKind},
    },
};

/// Imports open at a time.
const IMPORTS_MAX: usize = 64;
/// Bytes of all open imports together.
const BYTES_OPEN_MAX: u64 = 8 * queue::BYTES_PER_BATCH_MAX;
/// Parts of one import: its rows are deleted together.
const PARTS_MAX: u32 = 10_000;
/// An import to which nothing was appended for so long is deleted.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// All open imports. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Imports {
    state: Arc<State>,
    door: Door,
    open: Arc<Mutex<BTreeMap<Uuid, ImportRow>>>,
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
    /// When it lapses.
    pub expires: Timestamp,
}

impl OpenImport {
    fn new(id: Uuid, row: &ImportRow) -> Self {
        let request_id = row.request_id.clone();
        Self { id, request_id, hold: row.hold, next_offset: row.changes, expires: expiry(row) }
    }
}

impl Imports {
    /// Goes on with those that a start found.
    pub(super) fn new(state: Arc<State>, door: Door, open: BTreeMap<Uuid, ImportRow>) -> Self {
        Self { state, door, open: Arc::new(Mutex::new(open)) }
    }

    /// Opens one. The same request id is answered with the same one, unless it is `one_call`'s: such an import ends with the
    /// call that streams it, and no start goes on with it.
    ///
    /// # Errors
    /// [`Error::NoCeremony`], [`Error::Full`], [`Error::DiskFull`], [`Error::RequestIdUsed`].
    pub(crate) async fn create(&self, request_id: Option<RequestId>, hold: bool, one_call: bool) -> Result<OpenImport> {
        self.delete_lapsed().await?;
        let this = self.clone();
        detached(async move { this.create_row(request_id, hold, one_call).await }).await
    }

    async fn create_row(&self, request_id: Option<RequestId>, hold: bool, one_call: bool) -> Result<OpenImport> {
        let mut open = self.open.lock().await;
        if let Some(id) = request_id.as_ref().filter(|_| !one_call) {
            let used = |task: Uuid| Error::RequestIdUsed { request_id: id.to_string(), task: task.to_string() };
            match find(&open, id) {
                Some((import, row)) if row.hold == hold => return Ok(OpenImport::new(import, row)),
                Some((import, _)) => return Err(used(import)),
                None => {}
            }
            if let Some(row) = self.state.journal.request(id.as_str())? {
                return Err(used(row.task));
            }
        }
        self.state.admit(Load { submissions: 1, ..Load::default() }, hold)?;
        if open.len() >= IMPORTS_MAX {
            return Err(Error::Full { what: "open imports", max: IMPORTS_MAX as u64 });
        }
        let (id, row) = (self.state.next_id(), empty(request_id, hold, one_call, self.state.clock.now()));
        let mut entry = Entry::new();
        entry.put_import(id, &row);
        self.state.journal.commit(entry).await.map_err(|error| refusal(&error))?;
        let created = OpenImport::new(id, &row);
        open.insert(id, row);
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
        let mut open = self.open.lock().await;
        let row = self.row(&open, id)?;
        if is_last(row, offset, &changes) {
            return Ok(OpenImport::new(id, row));
        }
        if offset != row.changes {
            return Err(Error::ImportOffset { id: id.to_string(), offset, next_offset: row.changes });
        }
        let part = row.parts;
        let mut row = row.clone();
        row.previous = Some(Appended { offset, body: row.body });
        row.body = changes.chain(row.body);
        row.changes += changes.count();
        row.bytes += changes.as_bytes().len() as u64;
        row.parts += 1;
        row.touched = self.state.clock.now();
        let others = open.iter().filter(|(other, _)| **other != id).map(|(_, row)| row.bytes).sum::<u64>();
        self.check(&row, others)?;
        let mut entry = Entry::new();
        entry.put_part(id, part, changes);
        entry.put_import(id, &row);
        self.state.journal.commit(entry).await.map_err(|error| refusal(&error))?;
        let appended = OpenImport::new(id, &row);
        open.insert(id, row);
        Ok(appended)
    }

    /// The bounds that an import must keep, while others have so many bytes.
    fn check(&self, row: &ImportRow, others: u64) -> Result<()> {
        let max = queue::BYTES_PER_BATCH_MAX;
        if row.bytes > max {
            return Err(Error::field("changes", format!("more than {max} bytes in one import: make two of it")));
        }
        if row.parts > PARTS_MAX {
            let description = format!("more than {PARTS_MAX} calls for one import: append more changes at a time");
            return Err(Error::field("changes", description));
        }
        if others + row.bytes > BYTES_OPEN_MAX {
            return Err(Error::Full { what: "bytes of open imports", max: BYTES_OPEN_MAX });
        }
        let load = Load { submissions: 1, changes: row.changes, bytes: row.bytes };
        self.state.queue().admit(load, row.hold, Load::default(), Load::default())
    }

    /// How an import stands.
    ///
    /// # Errors
    /// [`Error::NoImport`], [`Error::ImportCommitted`].
    pub(crate) async fn get(&self, id: Uuid) -> Result<OpenImport> {
        let open = self.open.lock().await;
        self.row(&open, id).map(|row| OpenImport::new(id, row))
    }

    /// How the import with a request id stands.
    ///
    /// # Errors
    /// As [`Imports::get`].
    pub(crate) async fn get_by_request(&self, request_id: &RequestId) -> Result<OpenImport> {
        let open = self.open.lock().await;
        let found = find(&open, request_id).filter(|(_, row)| expiry(row) > self.state.clock.now());
        if let Some((id, row)) = found {
            return Ok(OpenImport::new(id, row));
        }
        let none = || Error::NoImport { id: request_id.to_string() };
        let task = self.state.journal.request(request_id.as_str())?.ok_or_else(none)?.task;
        self.row(&open, task).map(|row| OpenImport::new(task, row)).map_err(|error| match error {
            Error::NoImport { .. } => none(),
            other => other,
        })
    }

    /// Acknowledges the whole import; also when it was already.
    ///
    /// # Errors
    /// [`Error::NoImport`], and as for a submission: then the import stays open.
    pub(crate) async fn commit(&self, id: Uuid) -> Result<Uuid> {
        let this = self.clone();
        detached(async move { this.commit_row(id).await }).await
    }

    async fn commit_row(&self, id: Uuid) -> Result<Uuid> {
        let mut open = self.open.lock().await;
        let row = match self.row(&open, id) {
            Ok(row) => row,
            Err(Error::ImportCommitted { .. }) => return Ok(id),
            Err(error) => return Err(error),
        };
        if row.changes == 0 {
            return Err(Error::field("changes", "the import is empty, allowed is at least one change"));
        }
        let (request_id, body) = (row.request_id.clone(), body_digest(row.body, row.hold));
        let task = self.door.ask(id, Kind::Import { row: row.clone() }, request_id, body).await?;
        // Another one where the request id is known with the same body. Then this import stays until it lapses: its row alone
        // says of a repeated call which task that is.
        if task == id {
            open.remove(&id);
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
            let mut open = this.open.lock().await;
            this.row(&open, id)?;
            this.remove(&mut open, id).await
        })
        .await
    }

    /// Drops the imports that were idle for too long.
    ///
    /// # Errors
    /// [`Error::DiskFull`], [`Error::Stopping`].
    pub(crate) async fn delete_lapsed(&self) -> Result<()> {
        let this = self.clone();
        detached(async move {
            let mut open = this.open.lock().await;
            let now = this.state.clock.now();
            let lapsed: Vec<Uuid> = open.iter().filter(|(_, row)| expiry(row) <= now).map(|(id, _)| *id).collect();
            for id in lapsed {
                this.remove(&mut open, id).await?;
                tracing::info!(import = %id, "an import to which nothing was appended for a day is deleted");
            }
            Ok(())
        })
        .await
    }

    async fn remove(&self, open: &mut BTreeMap<Uuid, ImportRow>, id: Uuid) -> Result<()> {
        let Some(row) = open.get(&id) else { return Ok(()) };
        let mut entry = Entry::new();
        entry.delete_import(id);
        (0..row.parts).for_each(|part| entry.delete_part(id, part));
        self.state.journal.commit(entry).await.map_err(|error| refusal(&error))?;
        open.remove(&id);
        Ok(())
    }

    fn row<'a>(&self, open: &'a BTreeMap<Uuid, ImportRow>, id: Uuid) -> Result<&'a ImportRow> {
        if let Some(row) = open.get(&id).filter(|row| expiry(row) > self.state.clock.now()) {
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
    let body = EncodedChanges::BEFORE_ALL;
    ImportRow { request_id, hold, one_call, changes: 0, bytes: 0, parts: 0, body, previous: None, touched }
}

/// Whether these changes, at this offset, are the last part again.
fn is_last(row: &ImportRow, offset: u64, changes: &EncodedChanges) -> bool {
    let same = |before: &Appended| before.offset == offset && changes.chain(before.body) == row.body;
    row.previous.as_ref().is_some_and(same)
}

/// One that others can go on with.
fn find<'a>(open: &'a BTreeMap<Uuid, ImportRow>, request_id: &RequestId) -> Option<(Uuid, &'a ImportRow)> {
    let is_it = |row: &ImportRow| !row.one_call && row.request_id.as_ref() == Some(request_id);
    open.iter().find(|(_, row)| is_it(row)).map(|(id, row)| (*id, row))
}

fn expiry(row: &ImportRow) -> Timestamp {
    row.touched.checked_add(IDLE_MAX).unwrap_or(Timestamp::MAX)
}

/// Goes on to its end, within the caller's trace, also if the caller goes away, so that what stands in memory is what is
/// journalled.
pub(super) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work.in_current_span()).await.map_err(|_| Error::Stopping)?
}
