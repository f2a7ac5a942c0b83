//! What the coordinator must not forget, in its state store.
//!
//! ```text
//! repository            identity and settings
//! ceremony              a ceremony under way
//! publication           the newest publication
//! role/NAME             what is published of a role
//! withdrawn/NAME        the signer's last document of a role, if its batch was given up
//! submission/SEQ        acknowledged, not finished; SEQ gives the order
//! publish/SEQ           a publish request that is not answered
//! import/ID             open imports
//! part/TASK/N           changes of a submission, in parts
//! task/ID               tasks, newest first
//! result/TASK/N         results of a part
//! covered/TASK          tasks whose changes a publish request published
//! request/ID            request ids that were used
//! history/DAY-SEQ       a file of finished tasks, with rows as those four that were moved there
//! batch                 the batch under way
//! lane                  the run of the publishing lane under way
//! ```

mod entry;
mod history;
mod keys;
mod parts;
mod repeated;
mod results;
pub(crate) mod rows;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use rstuf_api::DocumentRef;
use rstuf_runtime::{Metrics, names};
use rstuf_store::Store;
use rstuf_tuf::RoleName;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Result;
pub(crate) use entry::Entry;
pub use history::forget_damaged;
use history::{Bounds, History};
use keys::{
    BATCH, CEREMONY, IMPORTS, LANE, PUBLICATION, PUBLISHES, REPOSITORY, ROLES, SUBMISSIONS, TASKS, WITHDRAWN,
    covered_key, parse, request_key, seq_of_key, submission_key, task_key, task_of_key, unreadable,
};
pub(crate) use keys::{unusable_batch, unusable_lane};
pub(crate) use parts::{EncodedChanges, StoredChange};
use rows::{
    BatchRow, CeremonyRow, ImportRow, LaneRow, PublicationRow, RepositoryRow, RequestRow, RoleRow, SubmissionRow,
    TaskKind, TaskRow, TaskState,
};

/// Rows read at a time when walking over many.
const SCAN_ROWS: usize = 1_024;

/// Typed access to the state store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Store,
    history: Arc<History>,
    /// Tasks that are not finished, oldest first, as their rows are: nobody reads the store for them.
    unfinished: Arc<Mutex<BTreeMap<Uuid, TaskRow>>>,
    commit_seconds: Histogram,
}

impl Journal {
    /// On an open store. Blocks.
    ///
    /// # Errors
    /// [`crate::Error::Store`], [`crate::Error::Journal`].
    pub(crate) fn open(store: Store, metrics: &Metrics) -> Result<Self> {
        Self::open_bounded(store, Bounds::default(), metrics)
    }

    fn open_bounded(store: Store, bounds: Bounds, metrics: &Metrics) -> Result<Self> {
        let help = "seconds that the state store took to make an entry durable";
        let history = Arc::new(History::open(&store, bounds, metrics)?);
        let unfinished = Arc::default();
        let journal =
            Self { store, history, unfinished, commit_seconds: metrics.seconds(names::STORE_COMMIT_SECONDS, help) };
        journal.load_tasks()?;
        Ok(journal)
    }

    fn load_tasks(&self) -> Result<()> {
        let mut finished = 0;
        self.walk(TASKS, |key, value| {
            let row: TaskRow = parse(key, value)?;
            match row.is_finished() {
                true => finished += 1,
                false => drop(self.lock_unfinished().insert(task_of_key(key)?, row)),
            }
            Ok(())
        })?;
        self.history.finished(finished);
        Ok(())
    }

    /// The store underneath.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes the entry durable: when this returns, it survives a power cut.
    ///
    /// # Errors
    /// [`crate::Error::Store`].
    pub(crate) async fn commit(&self, mut entry: Entry) -> Result<()> {
        if entry.is_empty() {
            return Ok(());
        }
        let (start, tasks) = (Instant::now(), entry.take_tasks());
        self.store.commit(entry.into_batch()).await?;
        self.remember(tasks);
        self.commit_seconds.observe(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Keeps what is not finished in memory.
    fn remember(&self, tasks: Vec<(Uuid, Option<TaskRow>)>) {
        let mut unfinished = self.lock_unfinished();
        let mut finished = 0;
        for (id, row) in tasks {
            match row {
                Some(row) => drop(unfinished.insert(id, row)),
                None => {
                    unfinished.remove(&id);
                    finished += 1;
                }
            }
        }
        drop(unfinished);
        self.history.finished(finished);
    }

    /// Identity and settings; none before the ceremony.
    pub(crate) fn repository(&self) -> Result<Option<RepositoryRow>> {
        self.read(REPOSITORY)
    }

    /// The ceremony under way.
    pub(crate) fn ceremony(&self) -> Result<Option<CeremonyRow>> {
        self.read(CEREMONY)
    }

    /// The newest publication.
    pub(crate) fn publication(&self) -> Result<PublicationRow> {
        Ok(self.read(PUBLICATION)?.unwrap_or_default())
    }

    /// The batch under way.
    pub(crate) fn batch(&self) -> Result<Option<BatchRow>> {
        self.read(BATCH)
    }

    /// The run of the lane under way.
    pub(crate) fn lane(&self) -> Result<Option<LaneRow>> {
        self.read(LANE)
    }

    /// A task that is not finished, from memory.
    pub(crate) fn unfinished(&self, id: Uuid) -> Option<TaskRow> {
        self.lock_unfinished().get(&id).cloned()
    }

    /// A task. Blocks, unless it is not finished.
    pub(crate) fn task(&self, id: Uuid) -> Result<Option<TaskRow>> {
        match self.unfinished(id) {
            Some(row) => Ok(Some(row)),
            None => self.remembered_row(&task_key(id)),
        }
    }

    /// Whether a task has ended, as the store has it, which is ahead of what is in memory for the moment in which it
    /// does. Blocks.
    fn has_ended(&self, id: Uuid) -> Result<bool> {
        let row: Option<TaskRow> = self.remembered_row(&task_key(id))?;
        Ok(row.is_none_or(|row| row.is_finished()))
    }

    /// A task that must be there, because something else in the journal names it.
    pub(crate) fn named_task(&self, id: Uuid) -> Result<TaskRow> {
        self.task(id)?.ok_or_else(|| unreadable(&task_key(id), "missing"))
    }

    /// Tasks, newest first, after the one named.
    pub(crate) fn tasks(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<(Uuid, TaskRow)>> {
        let after = after.map(task_key);
        let rows = self.store.scan(TASKS.as_bytes(), after.as_deref(), limit)?;
        let rows = self.history.tasks(after, rows).take(limit);
        rows.map(|row| row.and_then(|row| Ok((task_of_key(&row.key)?, parse(&row.key, &row.value)?)))).collect()
    }

    /// What a request id was used for.
    pub(crate) fn request(&self, id: &str) -> Result<Option<RequestRow>> {
        self.remembered_row(request_key(id).as_bytes())
    }

    /// The same, and what kind of request it was.
    pub(crate) fn used(&self, id: &str) -> Result<Option<(RequestRow, TaskKind)>> {
        let Some(row) = self.request(id)? else { return Ok(None) };
        let kind = self.named_task(row.task)?.kind;
        Ok(Some((row, kind)))
    }

    /// Every submission that is not finished, in the order in which they were acknowledged.
    pub(crate) fn submissions(&self) -> Result<Vec<(u64, SubmissionRow)>> {
        let mut all = Vec::new();
        self.walk(SUBMISSIONS, |key, value| {
            all.push((seq_of_key(key)?, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    /// Every open import.
    pub(crate) fn imports(&self) -> Result<BTreeMap<Uuid, ImportRow>> {
        let mut all = BTreeMap::new();
        self.walk(IMPORTS, |key, value| {
            let id = key.get(IMPORTS.len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let id = id.and_then(|id| id.parse().ok()).ok_or_else(|| unreadable(key, "no import"))?;
            all.insert(id, parse(key, value)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// Every publish request that is not answered.
    pub(crate) fn publishes(&self) -> Result<Vec<(u64, Uuid)>> {
        let mut all = Vec::new();
        self.walk(PUBLISHES, |key, value| {
            all.push((seq_of_key(key)?, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    /// The task of the oldest request that is to be published, and is not yet.
    pub(crate) fn oldest_to_publish(&self) -> Option<Uuid> {
        let waits = |row: &TaskRow| row.state == TaskState::Waiting && row.kind != TaskKind::Ceremony;
        self.lock_unfinished().iter().find(|(_, row)| waits(row)).map(|(id, _)| *id)
    }

    /// How many requests are not finished, whatever they wait for.
    pub(crate) fn requests_unfinished(&self) -> usize {
        self.lock_unfinished().values().filter(|row| row.kind != TaskKind::Ceremony).count()
    }

    pub(crate) fn submission(&self, seq: u64) -> Result<SubmissionRow> {
        let key = submission_key(seq);
        self.read(&key)?.ok_or_else(|| unreadable(key.as_bytes(), "missing"))
    }

    /// The tasks whose changes a publish request published, in order.
    pub(crate) fn covered(&self, publish: Uuid) -> Result<Vec<Uuid>> {
        Ok(self.remembered_row(covered_key(publish).as_bytes())?.unwrap_or_default())
    }

    /// What is published of every role.
    pub(crate) fn roles(&self) -> Result<Vec<(RoleName, RoleRow)>> {
        let mut all = Vec::new();
        self.walk(ROLES, |key, value| {
            let name = key.get(ROLES.len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let role = name.and_then(|name| name.parse().ok()).ok_or_else(|| unreadable(key, "no role"))?;
            all.push((role, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    /// What the targets signer signed last of a role, for a batch that was given up then.
    pub(crate) fn withdrawn(&self) -> Result<Vec<DocumentRef>> {
        let mut all = Vec::new();
        self.walk(WITHDRAWN, |key, value| {
            all.push(parse(key, value)?);
            Ok(())
        })?;
        Ok(all)
    }

    fn lock_unfinished(&self) -> MutexGuard<'_, BTreeMap<Uuid, TaskRow>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walk(&self, prefix: &str, mut row: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.store.scan(prefix.as_bytes(), after.as_deref(), SCAN_ROWS)?;
            for (key, value) in &rows {
                row(key, value)?;
            }
            match rows.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn walk_keys(&self, prefix: &str, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let keys = self.store.keys(prefix.as_bytes(), after.as_deref(), SCAN_ROWS)?;
            keys.iter().try_for_each(|key| visit(key))?;
            match keys.into_iter().last() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn read_bytes(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.store.get(key.as_bytes())?)
    }

    /// A row, or what it was when it was moved into the history.
    fn remembered(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.store.get(key)? {
            Some(value) => Ok(Some(value.into())),
            None => self.history.get(key),
        }
    }

    fn remembered_row<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>> {
        self.remembered(key)?.map(|value| parse(key, &value)).transpose()
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.read_at(key.as_bytes())
    }

    fn read_at<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>> {
        self.store.get(key)?.map(|value| parse(key, &value)).transpose()
    }
}
