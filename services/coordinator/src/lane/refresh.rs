//! Renewal outlives everything: while the next snapshot waits (for its signer, or because it is refused), clients go on
//! with the published one, whose timestamp is renewed when that is due.

use rstuf_tuf::{Envelope, Revision, RoleName, Sha256, Timestamp};

use super::{Lane, finish, overtaken, run::Run, timestamp};
use crate::{
    Error, Repository, Result,
    effects::Effect,
    journal::rows::LaneRow,
    publisher::TIMESTAMP_FILE,
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
    pub(super) async fn refresh(&self, repository: &Repository, run: &mut Run) -> Result<()> {
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
        let Some(bytes) = self.handles.publisher.read(TIMESTAMP_FILE).await? else { return Ok(false) };
        let row = self.handles.published.role(&RoleName::timestamp());
        if row.is_none_or(|row| row.sha256 != Sha256::of(&bytes)) {
            return Ok(false);
        }
        let snapshot = self.handles.published.role(&RoleName::snapshot());
        let named = Envelope::parse(&bytes).and_then(|envelope| envelope.decode::<Timestamp>());
        let named = named.map_err(|_| Error::DocumentLost { name: TIMESTAMP_FILE.to_owned() })?.snapshot.version;
        Ok(snapshot.is_some_and(|row| row.version == named))
    }

    async fn plan_refresh(&self, run: &mut Run, revision: Revision) -> Result<Revision> {
        run.row.refresh = Some(revision.clone());
        self.journal_row(Effect::PlanTimestamp, &run.row).await?;
        Ok(revision)
    }

    async fn publish_refresh(&self, repository: &Repository, run: &mut Run, revision: &Revision) -> Result<()> {
        let row = LaneRow { timestamp: Some(revision.clone()), ..LaneRow::new(run.row.id, false) };
        let renewal = Run { row, batch: None, tasks: Vec::new() };
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
