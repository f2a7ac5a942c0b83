//! What a run of the lane publishes.

use std::{collections::BTreeMap, sync::Arc};

use rstuf_api::DocumentRef;
use rstuf_tuf::{Revision, RoleName};
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
    /// How far it is.
    pub(super) row: LaneRow,
    /// None for a renewal.
    pub(super) batch: Option<(BatchRow, Changes)>,
    /// Who follows the batch.
    pub(super) tasks: Vec<Uuid>,
}

impl Run {
    /// Reads what belongs to a row.
    pub(super) async fn load(handles: &Handles, repository: &Arc<Repository>, row: LaneRow) -> Result<Self> {
        let batch = if row.batch { handles.batch().await? } else { None };
        match batch {
            Some(batch) => Self::with_batch(handles, repository, row, batch).await,
            None => Ok(Self::without_batch(row)),
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

    /// A renewal.
    pub(super) fn without_batch(row: LaneRow) -> Self {
        Self { row, batch: None, tasks: Vec::new() }
    }

    /// Tells watchers at which step it is.
    pub(super) fn progress(&self, handles: &Handles, step: Step) {
        handles.tasks.progress(&self.tasks, Progress { step, roles_done: 0, roles_total: 1, roles_sent: 0 });
    }

    /// Submissions that it publishes.
    pub(super) fn submissions(&self) -> usize {
        self.batch.as_ref().map_or(0, |(batch, _)| batch.submissions.len())
    }

    /// Whether it publishes a batch without which others may be published.
    pub(super) fn can_be_given_up(&self) -> bool {
        self.batch.as_ref().is_some_and(|(batch, _)| !batch.is_ceremony())
    }

    /// It goes on in the trace of the batch's first submission.
    pub(super) fn trace(&self) -> Option<&str> {
        let (_, changes) = self.batch.as_ref()?;
        changes.submissions().first()?.trace.as_deref()
    }

    /// The documents that it publishes: the batch's, signed offline and online, and what was collected. Of a role that
    /// stands twice the newer one counts.
    pub(super) fn documents(&self) -> Vec<SignedDocument> {
        let batch = self.batch.iter().flat_map(|(batch, _)| &batch.offline).chain(self.signed());
        let mut collected: BTreeMap<&RoleName, &SignedDocument> =
            self.row.collected.iter().map(|document| (&document.reference.role, document)).collect();
        let newer = |document: &SignedDocument| {
            let other = collected.remove(&document.reference.role);
            other.filter(|other| other.reference.version > document.reference.version).unwrap_or(document).clone()
        };
        let mut documents: Vec<_> = batch.map(newer).collect();
        documents.extend(collected.into_values().cloned());
        documents
    }

    /// Those of its documents that hold more than what the changes of its batch made of the published ones.
    pub(super) fn with_foreign_changes(&self, handles: &Handles) -> Vec<DocumentRef> {
        let plans = self.batch.iter().flat_map(|(batch, _)| &batch.roles);
        let plans: BTreeMap<&RoleName, &Revision> = plans.map(|plan| (&plan.role, &plan.revision)).collect();
        let on_published = |document: &DocumentRef| {
            let published = handles.published.role(&document.role).map(|row| row.version);
            let plan = plans.get(&document.role).filter(|revision| revision.version == document.version);
            plan.is_some_and(|revision| revision.base.as_ref().map(|base| base.version) == published)
        };
        let references = self.documents().into_iter().map(|document| document.reference);
        references.filter(|document| !on_published(document)).collect()
    }

    /// The batch's documents that were signed online, which can therefore be renewed.
    pub(super) fn signed(&self) -> impl Iterator<Item = &SignedDocument> {
        let signed = self.batch.iter().filter_map(|(batch, _)| batch.signed.as_ref());
        signed.flat_map(|signed| signed.documents.iter())
    }
}
