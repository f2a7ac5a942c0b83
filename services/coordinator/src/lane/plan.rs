//! Which versions of snapshot and timestamp a run asks for.

use rstuf_tuf::{Revision, RoleName};

use super::Lane;
use crate::{
    Repository, Result,
    batch::plan::{self, next_revision},
    effects::Effect,
    handles::Handles,
    journal::rows::{BatchRow, LaneRow},
};

impl Lane {
    /// The run that was planned with what was signed of a batch; none if something was published since.
    pub(super) fn planned(&self, batch: &BatchRow) -> Option<LaneRow> {
        let row = batch.signed.as_ref()?.run.as_deref()?.clone();
        let is_next = |revision: Option<&Revision>, role: RoleName| {
            let published = self.handles.published.role(&role).map(|row| row.reference(&role));
            revision.is_some_and(|revision| revision.base == published)
        };
        let is_next = is_next(row.snapshot.as_ref(), RoleName::snapshot())
            && is_next(row.timestamp.as_ref(), RoleName::timestamp());
        is_next.then_some(row)
    }

    /// Plans the next snapshot and the timestamp over it.
    pub(super) async fn plan(&self, repository: &Repository, batch: bool) -> Result<LaneRow> {
        let Handles { published, clock, .. } = &self.handles;
        let row = plan::run(repository, published, self.handles.next_id(), batch, clock.now())?;
        self.journal_row(Effect::PlanSnapshot, &row).await?;
        Ok(row)
    }

    /// The version after the published one, as of now.
    ///
    /// # Errors
    /// [`crate::Error::VersionsExhausted`].
    pub(super) fn next_revision(&self, repository: &Repository, role: &RoleName) -> Result<Revision> {
        next_revision(repository, &self.handles.published, role, self.handles.clock.now())
    }
}
