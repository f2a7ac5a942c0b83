//! What the coordinator must not forget, in its state store.
//!
//! ```text
//! repository            identity and settings
//! ceremony              a ceremony under way
//! publication           the newest publication
//! role/NAME             what is published of a role
//! submission/SEQ        acknowledged, not finished; SEQ gives the order
//! publish/SEQ           a publish request that is not answered
//! part/TASK/N           changes of a submission, in parts
//! task/ID               tasks, newest first
//! result/TASK/N         results of a part
//! request/ID            request ids that were used
//! batch                 the batch under way
//! lane                  the run of the publishing lane under way
//! ```

mod entry;
mod keys;
mod outcomes;
mod parts;
mod results;
pub(crate) mod rows;

use rstuf_runtime::Shutdown;
use rstuf_store::Store;
use rstuf_tuf::RoleName;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{Error, Result, backoff::Backoff};
pub(crate) use entry::Entry;
use keys::{
    BATCH, CEREMONY, LANE, PUBLICATION, PUBLISHES, REPOSITORY, ROLES, SUBMISSIONS, TASKS, parse, request_key,
    seq_of_key, submission_key, task_key, task_of_key, unreadable,
};
pub(crate) use keys::{unusable_batch, unusable_lane};
pub(crate) use outcomes::Outcomes;
pub(crate) use parts::{EncodedChanges, StoredChange};
use rows::{
    BatchRow, CeremonyRow, LaneRow, PublicationRow, RepositoryRow, RequestRow, RoleRow, SubmissionRow, TaskRow,
};

/// Rows read at a time when walking over many.
const SCAN_ROWS: usize = 1_024;

/// Typed access to the state store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Store,
}

impl Journal {
    /// On an open store.
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store underneath.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes the entry durable: when this returns, it survives a power cut.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) async fn commit(&self, entry: Entry) -> Result<()> {
        if entry.is_empty() {
            return Ok(());
        }
        Ok(self.store.commit(entry.into_batch()).await?)
    }

    /// As [`Journal::commit`], and where the disk is full waits until there is space: what was acknowledged must not be
    /// given up for that.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Stopping`] at a shutdown.
    pub(crate) async fn commit_patiently(&self, entry: Entry, shutdown: &Shutdown) -> Result<()> {
        let mut backoff = Backoff::new(shutdown.clone());
        loop {
            match self.commit(entry.clone()).await {
                Err(error @ Error::Store(rstuf_store::Error::NoSpace { .. })) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "publishing waits for space on the disk");
                }
                other => return other,
            }
            if !backoff.wait().await {
                return Err(Error::Stopping);
            }
        }
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

    /// A task.
    pub(crate) fn task(&self, id: Uuid) -> Result<Option<TaskRow>> {
        self.read_at(&task_key(id))
    }

    /// A task that must be there, because something else in the journal names it.
    pub(crate) fn named_task(&self, id: Uuid) -> Result<TaskRow> {
        let key = task_key(id);
        self.read_at(&key)?.ok_or_else(|| unreadable(&key, "missing"))
    }

    /// Tasks, newest first, after the one named.
    pub(crate) fn tasks(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<(Uuid, TaskRow)>> {
        let after = after.map(task_key);
        let rows = self.store.scan(TASKS.as_bytes(), after.as_deref(), limit)?;
        rows.into_iter().map(|(key, value)| Ok((task_of_key(&key)?, parse(&key, &value)?))).collect()
    }

    /// What a request id was used for.
    pub(crate) fn request(&self, id: &str) -> Result<Option<RequestRow>> {
        self.read(&request_key(id))
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

    /// Every publish request that is not answered.
    pub(crate) fn publishes(&self) -> Result<Vec<(u64, Uuid)>> {
        let mut all = Vec::new();
        self.walk(PUBLISHES, |key, value| {
            all.push((seq_of_key(key)?, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    /// One submission.
    pub(crate) fn submission(&self, seq: u64) -> Result<SubmissionRow> {
        let key = submission_key(seq);
        self.read(&key)?.ok_or_else(|| unreadable(key.as_bytes(), "missing"))
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

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.read_at(key.as_bytes())
    }

    fn read_at<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>> {
        self.store.get(key)?.map(|value| parse(key, &value)).transpose()
    }
}
