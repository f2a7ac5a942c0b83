//! The changes of a batch, where they stand, and the signing request that they make.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rstuf_runtime::liveness::beat;
use rstuf_tuf::{Change, RoleName};

use super::{
    partition::{Partition, Partitioning},
    withdrawal::Withdrawal,
};
use crate::{
    Repository, Result,
    journal::{
        Journal,
        rows::{BatchRow, SubmissionRow},
    },
    signers::{SUBMITTED_FRAME_BYTES_MAX, TargetsMessage, submitted},
};

/// The changes of a batch, where they stand: in the journal.
#[derive(Clone)]
pub(crate) struct Changes {
    journal: Journal,
    repository: Arc<Repository>,
    submissions: Vec<SubmissionRow>,
    partition: Arc<Mutex<Option<Arc<Partition>>>>,
}

impl Changes {
    /// Those of submissions, by number.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) fn new(journal: &Journal, repository: Arc<Repository>, submissions: &[u64]) -> Result<Self> {
        let submissions = submissions.iter().map(|seq| journal.submission(*seq)).collect::<Result<_>>()?;
        Ok(Self { journal: journal.clone(), repository, submissions, partition: Arc::default() })
    }

    /// The repository that they are for.
    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The submissions, in order.
    pub(crate) fn submissions(&self) -> &[SubmissionRow] {
        &self.submissions
    }

    /// Visits the parts in order: index of the submission, number of the part, its changes, each with the place of its
    /// role in the layout.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`], and what `visit` answers.
    pub(crate) fn visit(&self, mut visit: impl FnMut(usize, u32, Vec<(u32, Change)>) -> Result<()>) -> Result<()> {
        for (index, row) in self.submissions.iter().enumerate() {
            for part in 0..row.parts {
                beat();
                let changes = self.journal.changes(row.task, part)?;
                let with_place = |change: Change| (self.repository.layout.place_for(change.path()), change);
                visit(index, part, changes.into_iter().map(with_place).collect())?;
            }
        }
        Ok(())
    }

    /// Number of changes of each role.
    ///
    /// # Errors
    /// As [`Changes::request`].
    pub(crate) fn count(&self) -> Result<BTreeMap<RoleName, u64>> {
        Ok(self.partition()?.counts())
    }

    /// Gives every message of the signing request of `batch` to `send`, in order, with bounded memory: of each role
    /// what takes back what it withdraws, then its changes. Stops when `send` answers false: nobody listens. Answers
    /// the number of changes of each role, which is that of the outcomes to come, but for those of what is taken back.
    ///
    /// # Errors
    /// As [`Changes::visit`], also where there is no space for changes by role.
    pub(crate) fn request(
        &self,
        batch: &BatchRow,
        withdrawal: &Withdrawal,
        mut send: impl FnMut(TargetsMessage) -> bool,
    ) -> Result<BTreeMap<RoleName, u64>> {
        let partition = if batch.applied.is_some() { Arc::default() } else { self.partition()? };
        if !send(TargetsMessage::header(&self.repository.id, batch.id)) {
            return Ok(BTreeMap::new());
        }
        for plan in &batch.roles {
            let changes = withdrawal.changes(&plan.role).chain(partition.changes(&plan.role));
            if !TargetsMessage::role(plan, changes, &mut send)? {
                break;
            }
        }
        Ok(partition.counts())
    }

    /// Reads the changes, role by role, if nobody did: no message of the request waits for that then.
    ///
    /// # Errors
    /// As [`Changes::request`].
    pub(crate) fn gather(&self) -> Result<()> {
        self.partition().map(drop)
    }

    /// The changes role by role: read by the first who asks, however often a signer is asked then.
    fn partition(&self) -> Result<Arc<Partition>> {
        let mut partition = self.partition.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*partition {
            return Ok(made.clone());
        }
        Ok(partition.insert(Arc::new(self.read()?)).clone())
    }

    fn read(&self) -> Result<Partition> {
        let bytes = |row: &SubmissionRow| row.bytes + row.changes * SUBMITTED_FRAME_BYTES_MAX;
        let mut partitioning = Partitioning::new(self.journal.clone(), self.submissions.iter().map(bytes).sum());
        let mut written = Vec::new();
        for (index, row) in self.submissions.iter().enumerate() {
            for part in 0..row.parts {
                beat();
                for change in self.journal.encoded_changes(row.task, part)? {
                    let (path, encoded) = change?;
                    written.clear();
                    submitted(index, &encoded, &mut written);
                    let place = self.repository.layout.place_for(&path);
                    partitioning.push(place, || self.repository.role_for(&path), &written)?;
                }
            }
        }
        Ok(partitioning.finish())
    }
}

#[cfg(test)]
mod tests;
