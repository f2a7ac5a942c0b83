//! What a run of the lane publishes.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    Repository, Result,
    batch::{changes::Changes, finish},
    blocking::blocking,
    handles::Handles,
    journal::rows::{BatchRow, LaneRow, SignedDocument},
    tasks::{Progress, Step},
};

/// One run, and the batch that it publishes.
pub(super) struct Run {
    /// How far it is, as journalled.
    pub(super) row: LaneRow,
    /// None for a renewal.
    pub(super) batch: Option<(BatchRow, Changes)>,
    /// Who follows the batch.
    pub(super) tasks: Vec<Uuid>,
}

impl Run {
    /// Reads what belongs to a row.
    pub(super) async fn load(handles: &Handles, repository: &Arc<Repository>, row: LaneRow) -> Result<Self> {
        match (row.batch, handles.journal.batch()?) {
            (true, Some(batch)) => Self::with_batch(handles, repository, row, batch).await,
            (true, None) | (false, _) => Ok(Self { row, batch: None, tasks: Vec::new() }),
        }
    }

    /// A run that publishes `batch`.
    pub(super) async fn with_batch(
        handles: &Handles,
        repository: &Arc<Repository>,
        row: LaneRow,
        batch: BatchRow,
    ) -> Result<Self> {
        let (journal, repository, seqs) = (handles.journal.clone(), repository.clone(), batch.submissions.clone());
        let changes = blocking(move || Changes::new(&journal, repository, &seqs)).await?;
        let tasks = finish::tasks(&changes, &batch);
        Ok(Self { row, batch: Some((batch, changes)), tasks })
    }

    /// Tells watchers at which step it is.
    pub(super) fn progress(&self, handles: &Handles, step: Step) {
        handles.tasks.progress(&self.tasks, Progress { step, roles_done: 0, roles_total: 1 });
    }

    /// Submissions that it publishes.
    pub(super) fn submissions(&self) -> usize {
        self.batch.as_ref().map_or(0, |(batch, _)| batch.submissions.len())
    }

    /// It goes on in the trace of the batch's first submission.
    pub(super) fn trace(&self) -> Option<&str> {
        let (_, changes) = self.batch.as_ref()?;
        changes.submissions().first()?.trace.as_deref()
    }

    /// The batch's documents: signed online and offline.
    pub(super) fn documents(&self) -> Vec<SignedDocument> {
        let Some((batch, _)) = &self.batch else { return Vec::new() };
        batch.offline.iter().chain(self.signed()).cloned().collect()
    }

    /// The batch's documents that were signed online, which can therefore be renewed.
    pub(super) fn signed(&self) -> impl Iterator<Item = &SignedDocument> {
        let signed = self.batch.iter().filter_map(|(batch, _)| batch.signed.as_ref());
        signed.flat_map(|signed| signed.documents.iter())
    }
}
