//! A batch whose next snapshot can't be had makes way: snapshot and timestamp are renewed without it when that is due,
//! and it is published above them. One that is refused makes way at once; if the signer then signs the renewal, and not
//! the batch, the batch is at fault, and goes back to the batcher.
//!
//! The row of the renewal takes the place of the batch's in the journal. It asks for the same version of the snapshot,
//! which nobody signed, or, where the answer was lost, the signer did: then it goes above that, as above everything
//! that it knows nothing of. What it collected stays with it. The batch is still journalled as signed.

use std::sync::Arc;

use rstuf_tuf::{Revision, RoleName};

use super::{HandedBack, Lane, run::Run};
use crate::{
    Error, Repository, Result,
    effects::Effect,
    journal::{Entry, rows::LaneRow},
    signers::Group,
    troubles::Work,
};

impl Lane {
    /// Takes a run from wherever it is to its end. Ends early only at a shutdown, or when a batch has to go back:
    /// because it has to be renewed, or for the reason that is answered.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(super) async fn drive(&self, repository: &Arc<Repository>, mut run: Run) -> Result<HandedBack> {
        let mut was_refused = false;
        while let Some(stuck) = self.advance_to_end(repository, run).await? {
            if was_refused && let Some(refused) = stuck.refused {
                return self.hand_back(refused).await;
            }
            was_refused = stuck.refused.is_some();
            let renewal = self.renewal(repository, stuck.run.row);
            self.journal_row(Effect::PlanSnapshot, &renewal).await?;
            // It publishes no batch, so it waits for what it needs.
            self.advance_to_end(repository, Run::without_batch(renewal)).await?;
            if self.handles.shutdown.is_triggered() {
                break;
            }
            run = Run { row: self.plan(repository, true).await?, ..stuck.run };
        }
        Ok(None)
    }

    /// Whether a run that can't go on keeps a snapshot from being renewed that is due, and that its signer might sign.
    pub(super) async fn makes_way(&self, repository: &Repository, run: &Run) -> bool {
        let waits = run.batch.is_some() && run.row.snapshot.is_some() && run.row.snapshot_document.is_none();
        let now = self.handles.clock.now();
        let is_due = || super::due(&self.handles.published, repository, &RoleName::snapshot(), now) <= now;
        // While it is away, it might have signed what was asked for.
        waits && is_due() && self.handles.signers.describe(Group::Snapshot).await.is_ok()
    }

    fn renewal(&self, repository: &Repository, row: LaneRow) -> LaneRow {
        let now = self.handles.clock.now();
        let as_of_now = |revision: Option<Revision>, role| {
            revision.map(|revision| Revision { expires: repository.expiry(&role, now), ..revision })
        };
        let (snapshot, timestamp) =
            (as_of_now(row.snapshot, RoleName::snapshot()), as_of_now(row.timestamp, RoleName::timestamp()));
        LaneRow { id: self.handles.next_id(), batch: false, snapshot, timestamp, ..row }
    }

    /// First no run publishes the batch any more, so that none publishes what takes its place.
    async fn hand_back(&self, refused: Error) -> Result<HandedBack> {
        let mut entry = Entry::new();
        entry.set_lane(None);
        self.handles.effects.run(Effect::GiveUp, self.handles.commit(entry)).await?;
        self.handles.troubles.ended(Work::Publication);
        Ok(Some(refused))
    }
}
