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

pub(crate) mod rows;

use rstuf_runtime::Shutdown;
use rstuf_store::{Batch, Store};
use rstuf_tuf::RoleName;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{Error, Result, backoff::Backoff};
use rows::{
    BatchRow, CeremonyRow, LaneRow, PublicationRow, RepositoryRow, RequestRow, RoleRow, SubmissionRow, TaskRow,
};

/// Rows read at a time when walking over many.
const SCAN_ROWS: usize = 1_024;

const REPOSITORY: &str = "repository";
const CEREMONY: &str = "ceremony";
const PUBLICATION: &str = "publication";
const BATCH: &str = "batch";
const LANE: &str = "lane";

/// Typed access to the state store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    store: Store,
}

/// Changes of the journal that become durable together.
#[derive(Default, Clone)]
pub(crate) struct Entry {
    batch: Batch,
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
        if entry.batch.is_empty() {
            return Ok(());
        }
        Ok(self.store.commit(entry.batch).await?)
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

    /// Tasks, newest first, after the one named.
    pub(crate) fn tasks(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<(Uuid, TaskRow)>> {
        let after = after.map(task_key);
        let rows = self.store.scan(b"task/", after.as_deref(), limit)?;
        rows.into_iter().map(|(key, value)| Ok((task_of_key(&key)?, parse(&key, &value)?))).collect()
    }

    /// What a request id was used for.
    pub(crate) fn request(&self, id: &str) -> Result<Option<RequestRow>> {
        self.read(&format!("request/{id}"))
    }

    /// Every submission that is not finished, in the order in which they were acknowledged.
    pub(crate) fn submissions(&self) -> Result<Vec<(u64, SubmissionRow)>> {
        let mut all = Vec::new();
        self.walk(b"submission/", |key, value| {
            let digits = key.get(b"submission/".len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let seq = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            all.push((seq.ok_or_else(|| unreadable(key, "no number"))?, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    /// Every publish request that is not answered.
    pub(crate) fn publishes(&self) -> Result<Vec<(u64, Uuid)>> {
        let mut all = Vec::new();
        self.walk(b"publish/", |key, value| {
            let digits = key.get(b"publish/".len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let seq = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            all.push((seq.ok_or_else(|| unreadable(key, "no number"))?, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    /// One submission.
    pub(crate) fn submission(&self, seq: u64) -> Result<SubmissionRow> {
        let key = submission_key(seq);
        self.read(&key)?.ok_or_else(|| unreadable(key.as_bytes(), "missing"))
    }

    /// The changes of one part of a submission: an encoded `SubmitArtifactsRequest`.
    pub(crate) fn part(&self, task: Uuid, part: u32) -> Result<Vec<u8>> {
        let key = part_key(task, part);
        self.store.get(key.as_bytes())?.ok_or_else(|| unreadable(key.as_bytes(), "missing"))
    }

    /// Keys of all parts.
    pub(crate) fn parts(&self) -> Result<Vec<(Uuid, u32)>> {
        let mut all = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let keys = self.store.keys(b"part/", after.as_deref(), SCAN_ROWS)?;
            for key in &keys {
                let text = String::from_utf8_lossy(key);
                let mut fields = text.split('/').skip(1);
                let task = fields.next().and_then(|text| text.parse().ok());
                let part = fields.next().and_then(|text| u32::from_str_radix(text, 16).ok());
                all.push(task.zip(part).ok_or_else(|| unreadable(key, "not the key of a part"))?);
            }
            match keys.into_iter().last() {
                Some(last) => after = Some(last),
                None => return Ok(all),
            }
        }
    }

    /// The results of one part of a submission: an encoded `ListTaskResultsResponse`.
    pub(crate) fn result(&self, task: Uuid, part: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.store.get(result_key(task, part).as_bytes())?)
    }

    /// What is published of every role.
    pub(crate) fn roles(&self) -> Result<Vec<(RoleName, RoleRow)>> {
        let mut all = Vec::new();
        self.walk(b"role/", |key, value| {
            let name = key.get(b"role/".len()..).and_then(|bytes| std::str::from_utf8(bytes).ok());
            let role = name.and_then(|name| name.parse().ok()).ok_or_else(|| unreadable(key, "no role"))?;
            all.push((role, parse(key, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    fn walk(&self, prefix: &[u8], mut row: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.store.scan(prefix, after.as_deref(), SCAN_ROWS)?;
            for (key, value) in &rows {
                row(key, value)?;
            }
            match rows.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.read_at(key.as_bytes())
    }

    fn read_at<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>> {
        self.store.get(key)?.map(|value| parse(key, &value)).transpose()
    }
}

impl Entry {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds what `later` changes.
    pub(crate) fn append(&mut self, later: Self) {
        self.batch.append(later.batch);
    }

    /// Rows gathered so far.
    pub(crate) fn rows(&self) -> usize {
        self.batch.len()
    }

    /// Bytes gathered so far.
    pub(crate) fn size_bytes(&self) -> usize {
        self.batch.size_bytes()
    }

    /// Identity and settings.
    pub(crate) fn put_repository(&mut self, row: &RepositoryRow) {
        self.put(REPOSITORY, row);
    }

    /// The ceremony under way, or its end.
    pub(crate) fn set_ceremony(&mut self, row: Option<&CeremonyRow>) {
        self.set(CEREMONY, row);
    }

    /// The newest publication.
    pub(crate) fn put_publication(&mut self, row: &PublicationRow) {
        self.put(PUBLICATION, row);
    }

    /// The batch under way, or its end.
    pub(crate) fn set_batch(&mut self, row: Option<&BatchRow>) {
        self.set(BATCH, row);
    }

    /// The run of the lane under way, or its end.
    pub(crate) fn set_lane(&mut self, row: Option<&LaneRow>) {
        self.set(LANE, row);
    }

    /// What is published of a role.
    pub(crate) fn put_role(&mut self, role: &RoleName, row: &RoleRow) {
        self.put(&format!("role/{role}"), row);
    }

    /// An acknowledged submission.
    pub(crate) fn put_submission(&mut self, seq: u64, row: &SubmissionRow) {
        self.put(&submission_key(seq), row);
    }

    /// A finished submission, with its parts.
    pub(crate) fn delete_submission(&mut self, seq: u64, row: &SubmissionRow) {
        self.batch.delete(submission_key(seq));
        for part in 0..row.parts {
            self.delete_part(row.task, part);
        }
    }

    /// An acknowledged publish request.
    pub(crate) fn put_publish(&mut self, seq: u64, task: Uuid) {
        self.put(&format!("publish/{seq:016x}"), &task);
    }

    /// An answered publish request.
    pub(crate) fn delete_publish(&mut self, seq: u64) {
        self.batch.delete(format!("publish/{seq:016x}"));
    }

    /// Changes of a submission.
    pub(crate) fn put_part(&mut self, task: Uuid, part: u32, changes: Vec<u8>) {
        self.batch.put(part_key(task, part), changes);
    }

    /// Changes that nobody asks for any more.
    pub(crate) fn delete_part(&mut self, task: Uuid, part: u32) {
        self.batch.delete(part_key(task, part));
    }

    /// Results of a part.
    pub(crate) fn put_result(&mut self, task: Uuid, part: u32, results: Vec<u8>) {
        self.batch.put(result_key(task, part), results);
    }

    /// A task.
    pub(crate) fn put_task(&mut self, id: Uuid, row: &TaskRow) {
        self.batch.put(task_key(id), json(row));
    }

    /// A task that is too old, with all that belongs to it.
    pub(crate) fn delete_task(&mut self, id: Uuid, row: &TaskRow) {
        self.batch.delete(task_key(id));
        for part in 0..row.parts {
            self.batch.delete(result_key(id, part));
        }
        if !row.request_id.is_empty() {
            self.batch.delete(format!("request/{}", row.request_id));
        }
    }

    /// A request id that is used now.
    pub(crate) fn put_request(&mut self, id: &str, row: &RequestRow) {
        self.put(&format!("request/{id}"), row);
    }

    fn put(&mut self, key: &str, row: &impl Serialize) {
        self.batch.put(key, json(row));
    }

    fn set(&mut self, key: &str, row: Option<&impl Serialize>) {
        match row {
            Some(row) => self.put(key, row),
            None => {
                self.batch.delete(key);
            }
        }
    }
}

/// Rows are plain structs with text keys: writing them can't fail.
fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}

fn parse<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| unreadable(key, &error.to_string()))
}

fn unreadable(key: &[u8], message: &str) -> Error {
    Error::Journal { key: String::from_utf8_lossy(key).into_owned(), message: message.to_owned() }
}

fn submission_key(seq: u64) -> String {
    format!("submission/{seq:016x}")
}

fn part_key(task: Uuid, part: u32) -> String {
    format!("part/{task}/{part:08x}")
}

fn result_key(task: Uuid, part: u32) -> String {
    format!("result/{task}/{part:08x}")
}

/// Ids grow with time; their complements, as keys, put the newest first.
fn task_key(id: Uuid) -> Vec<u8> {
    let complement: String = id.as_bytes().iter().map(|byte| format!("{:02x}", !byte)).collect();
    format!("task/{complement}").into_bytes()
}

fn task_of_key(key: &[u8]) -> Result<Uuid> {
    let digits = key.get(b"task/".len()..).unwrap_or_default();
    let bytes = hex::decode(digits).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| unreadable(key, "not the key of a task"))?;
    Ok(Uuid::from_bytes(bytes.map(|byte| !byte)))
}
