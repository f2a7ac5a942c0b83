//! What becomes durable together.

use rstuf_api::DocumentRef;
use rstuf_store::Batch;
use rstuf_tuf::RoleName;
use serde::Serialize;
use uuid::Uuid;

use super::{
    keys::{
        BATCH, CEREMONY, LANE, PUBLICATION, REPOSITORY, covered_key, import_key, json, part_key, publish_key,
        request_key, role_key, submission_key, task_key, withdrawn_key,
    },
    rows::{
        BatchRow, CeremonyRow, ImportRow, LaneRow, PublicationRow, RepositoryRow, RequestRow, RoleRow, SubmissionRow,
        TaskRow,
    },
};

/// Changes of the journal that become durable together.
#[derive(Default, Clone)]
pub(crate) struct Entry {
    batch: Batch,
    tasks: Vec<(Uuid, Option<TaskRow>)>,
}

impl Entry {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// That this is the batch under way; with thousands of roles it takes a while to write.
    pub(crate) fn of_batch(row: &BatchRow) -> Self {
        let mut entry = Self::new();
        entry.set_batch(Some(row));
        entry
    }

    /// That this is the run of the lane under way.
    pub(crate) fn of_lane(row: &LaneRow) -> Self {
        let mut entry = Self::new();
        entry.set_lane(Some(row));
        entry
    }

    /// What is refused earlier than what can't wait where space runs out: see [`Batch::leave`].
    pub(crate) fn leave(&mut self, free_bytes: u64) {
        self.batch.leave(free_bytes);
    }

    /// Adds what `later` changes.
    pub(crate) fn append(&mut self, later: Self) {
        self.batch.append(later.batch);
        self.tasks.extend(later.tasks);
    }

    /// Rows gathered so far.
    pub(crate) fn rows(&self) -> usize {
        self.batch.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Tasks that it writes, in order: as they are, or none once they are finished.
    pub(super) fn take_tasks(&mut self) -> Vec<(Uuid, Option<TaskRow>)> {
        std::mem::take(&mut self.tasks)
    }

    pub(super) fn into_batch(self) -> Batch {
        self.batch
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
        self.put(&role_key(role), row);
    }

    /// The signer's last document of a role, whose batch is given up.
    pub(crate) fn put_withdrawn(&mut self, document: &DocumentRef) {
        self.put(&withdrawn_key(&document.role), document);
    }

    /// What is published of a role is newer than what was withdrawn.
    pub(crate) fn delete_withdrawn(&mut self, role: &RoleName) {
        self.delete(withdrawn_key(role));
    }

    /// An acknowledged submission.
    pub(crate) fn put_submission(&mut self, seq: u64, row: &SubmissionRow) {
        self.put(&submission_key(seq), row);
    }

    /// A finished submission, with its parts.
    pub(crate) fn delete_submission(&mut self, seq: u64, row: &SubmissionRow) {
        self.batch.delete(submission_key(seq));
        for part in 0..row.parts {
            self.delete(part_key(row.task, part));
        }
    }

    /// A submission whose place in the order of acknowledgement is another one now.
    pub(crate) fn move_submission(&mut self, from: u64, to: u64, row: &SubmissionRow) {
        self.batch.delete(submission_key(from));
        self.put_submission(to, row);
    }

    /// An open import.
    pub(crate) fn put_import(&mut self, id: Uuid, row: &ImportRow) {
        self.put(&import_key(id), row);
    }

    /// An import that is acknowledged, or dropped.
    pub(crate) fn delete_import(&mut self, id: Uuid) {
        self.delete(import_key(id));
    }

    /// An acknowledged publish request.
    pub(crate) fn put_publish(&mut self, seq: u64, task: Uuid) {
        self.put(&publish_key(seq), &task);
    }

    /// An answered publish request.
    pub(crate) fn delete_publish(&mut self, seq: u64) {
        self.batch.delete(publish_key(seq));
    }

    /// Tasks whose changes a publish request published.
    pub(crate) fn put_covered(&mut self, publish: Uuid, tasks: &[Uuid]) {
        self.put(&covered_key(publish), &tasks);
    }

    pub(crate) fn put_task(&mut self, id: Uuid, row: &TaskRow) {
        self.tasks.push((id, (!row.is_finished()).then(|| row.clone())));
        self.batch.put(task_key(id), json(row));
    }

    /// A request id that is used now.
    pub(crate) fn put_request(&mut self, id: &str, row: &RequestRow) {
        self.put(&request_key(id), row);
    }

    pub(super) fn put_bytes(&mut self, key: String, bytes: Vec<u8>) {
        self.batch.put(key, bytes);
    }

    pub(super) fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.batch.delete(key);
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
