//! The start of the lane: the journal is compared with each signer that it asks as that one answers. Nothing waits for
//! more than it needs: a timestamp over the published snapshot for its own signer, a snapshot for these two.

use std::sync::Arc;

use rstuf_tuf::RoleName;

use super::{
    Lane, entry_of,
    next::{self, Todo},
    overtaken,
    run::Run,
    snapshot,
};
use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    collect::states,
    journal::{Journal, rows::LaneRow},
    signers::Group,
    troubles::Work,
};

impl Lane {
    /// Answers the run to go on with, if there is one. Where a signer is ahead of the journal, that was lost or
    /// restored: the run goes above all that was signed, so that no version is ever used twice. None as well at a
    /// shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(super) async fn catch_up(&self, repository: &Arc<Repository>) -> Result<Option<Run>> {
        let idle = || LaneRow::new(self.handles.next_id(), false);
        let row = self.under_way().await?.unwrap_or_else(idle);
        let mut run = Run::load(&self.handles, repository, row).await?;
        run.row.snapshot_document = snapshot::signed(&self.handles, repository, &run).await?;
        let attempt = || self.is_ahead(repository, &run.row, Group::Timestamp);
        let asked = self.handles.until_done(Work::Start, Error::is_transient, attempt).await?;
        let Some(timestamp_ahead) = asked else { return Ok(None) };
        if !timestamp_ahead && matches!(next::next(&run.row), Ok(Todo::Timestamp(_))) {
            self.drive(repository, run).await?;
            // Then what was driven may not have ended, and goes on at the next start.
            if self.handles.shutdown.is_triggered() {
                return Ok(None);
            }
            run = Run::without_batch(idle());
        }
        let mut backoff = Backoff::new(self.handles.shutdown.clone());
        loop {
            match self.compared(repository, &run, timestamp_ahead).await {
                Ok(row) => {
                    self.handles.troubles.ended(Work::Start);
                    return Ok(row.map(|row| Run { row, ..run }));
                }
                Err(error) if error.is_transient() => {
                    self.handles.troubles.happened(Work::Start, &error);
                    if !timestamp_ahead {
                        self.refresh(repository, &mut run).await?;
                    }
                }
                Err(error) => return Err(error),
            }
            if !backoff.wait().await {
                return Ok(None);
            }
        }
    }

    /// The run under way: as the lane journalled it, or as it was planned with what was signed of a batch.
    async fn under_way(&self) -> Result<Option<LaneRow>> {
        if let Some(row) = self.handles.read(Journal::lane).await? {
            return Ok(Some(row));
        }
        Ok(self.handles.batch().await?.and_then(|batch| self.planned(&batch)))
    }

    async fn compared(
        &self,
        repository: &Arc<Repository>,
        run: &Run,
        timestamp_ahead: bool,
    ) -> Result<Option<LaneRow>> {
        let snapshot_ahead = self.is_ahead(repository, &run.row, Group::Snapshot).await?;
        if !timestamp_ahead && !snapshot_ahead {
            return Ok(next::going_on(&run.row));
        }
        tracing::warn!("signers are ahead of the journal: going on above what they signed last");
        let row = overtaken::above(&self.handles, repository, run).await?;
        self.handles.commit(entry_of(&row).await?).await?;
        Ok(Some(row))
    }

    /// Whether a signer has a version that was neither published nor asked for.
    async fn is_ahead(&self, repository: &Repository, row: &LaneRow, group: Group) -> Result<bool> {
        let (role, planned) = match group {
            Group::Snapshot => (RoleName::snapshot(), [row.snapshot.as_ref(), None]),
            Group::Targets | Group::Timestamp => {
                (RoleName::timestamp(), [row.timestamp.as_ref(), row.refresh.as_ref()])
            }
        };
        let states = states(&self.handles, repository, group).await?;
        let signed = states.into_iter().find(|state| state.role == role).and_then(|state| state.base);
        let published = self.handles.published.role(&role).map(|row| row.version);
        let known = planned.into_iter().flatten().map(|revision| revision.version).max().max(published);
        Ok(signed.map(|base| base.version) > known)
    }
}
