//! Renewal outlives everything: while the next snapshot waits (for its signer, or because it is refused), clients go on
//! with the published one, whose timestamp is renewed when that is due.

use std::sync::Arc;

use rstuf_tuf::{Revision, RoleName, Timestamp};

use super::{Lane, finish, overtaken, run::Run, timestamp};
use crate::{
    Error, Repository, Result,
    effects::Effect,
    journal::rows::LaneRow,
    signers::{Group, Objection},
    troubles::Work,
    verdict::hold_clock,
};

impl Lane {
    /// Renews the timestamp over the published snapshot, if that is due and the run has not made a snapshot of its own
    /// yet. Tries once; the next attempt of the run tries again.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(super) async fn refresh(&self, repository: &Arc<Repository>, run: &mut Run) -> Result<()> {
        let renews_itself = run.row.snapshot.is_none() && run.row.timestamp.is_some();
        if renews_itself || run.row.snapshot_document.is_some() {
            return Ok(());
        }
        let revision = match run.row.refresh.clone() {
            Some(revision) => revision,
            None if self.is_timestamp_due(repository) && self.is_seen().await? => {
                self.plan_refresh(run, self.next_revision(repository, &RoleName::timestamp())?).await?
            }
            None => return Ok(()),
        };
        match self.publish_refresh(repository, run, &revision).await {
            Ok(()) => self.handles.troubles.ended(Work::Refresh),
            Err(error) if error.is_transient() => {
                self.handles.troubles.happened(Work::Refresh, &error);
                self.settle_refresh(repository, run, &error).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn is_timestamp_due(&self, repository: &Repository) -> bool {
        let now = self.handles.clock.now();
        super::due(&self.handles.published, repository, &RoleName::timestamp(), now) <= now
    }

    /// Whether clients see what the journal says: of one that was restored, the snapshot may be gone long since.
    async fn is_seen(&self) -> Result<bool> {
        let (published, timestamp) = (&self.handles.published, RoleName::timestamp());
        let Some(row) = published.role(&timestamp) else { return Ok(false) };
        let snapshot = published.role(&RoleName::snapshot()).map(|row| row.version);
        match published.read_document::<Timestamp>(&row.reference(&timestamp)).await {
            Ok(seen) => Ok(snapshot == Some(seen.snapshot.version)),
            Err(Error::DocumentLost { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn plan_refresh(&self, run: &mut Run, revision: Revision) -> Result<Revision> {
        run.row.refresh = Some(revision.clone());
        // It takes the version of the one that was planned with the snapshot.
        run.row.timestamp = None;
        self.journal_row(Effect::PlanTimestamp, &run.row).await?;
        Ok(revision)
    }

    async fn publish_refresh(&self, repository: &Arc<Repository>, run: &mut Run, revision: &Revision) -> Result<()> {
        let row = LaneRow { timestamp: Some(revision.clone()), ..LaneRow::new(run.row.id, false) };
        let renewal = Run::without_batch(row);
        let document = timestamp::publish(&self.handles, repository, &renewal, revision).await?;
        run.row.refresh = None;
        let next = Some(&run.row).filter(|row| !row.is_idle());
        let written = finish::published(&self.handles, &self.index, &self.retention, &renewal, document, next).await?;
        self.pace.published(written);
        self.publications.inc();
        Ok(())
    }

    /// A refused renewal is asked for in another way, as of now.
    async fn settle_refresh(&self, repository: &Repository, run: &mut Run, error: &Error) -> Result<()> {
        let Error::SignerRefused { objection, .. } = error else { return Ok(()) };
        if let Objection::Behind { role } = objection {
            return self.handles.prove(Group::Timestamp, role).await;
        }
        let asked = run.row.refresh.iter().map(|revision| revision.expires);
        hold_clock(&self.handles.clock, asked, error);
        match overtaken::next_timestamp(&self.handles, repository).await {
            Ok(revision) => self.plan_refresh(run, revision).await.map(|_| ()),
            Err(error) if error.is_transient() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
