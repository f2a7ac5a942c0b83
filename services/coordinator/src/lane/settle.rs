//! What becomes of a run that a signer refuses.

use std::sync::Arc;

use rstuf_tuf::RoleName;

use super::{
    Lane, Next,
    next::{self, Todo},
    overtaken,
    run::Run,
    timestamp,
};
use crate::{
    Error, Repository, Result,
    batch::plan::revision_after,
    blocking::blocking,
    effects::Effect,
    journal::{
        Entry,
        rows::{BatchRow, RolePlan, SignedDocument},
    },
    signers::Group,
    verdict::{Asked, Expiry, Verdict, after},
};

impl Lane {
    /// Acts on what the signers of a group refused, or answered: either the run goes on with another row, or it waits
    /// and asks the same again, and may be given up for that.
    ///
    /// # Errors
    /// `error` itself, and as signers' calls.
    pub(super) async fn settle(
        &self,
        repository: &Arc<Repository>,
        run: &Run,
        todo: Todo<'_>,
        group: Group,
        error: Error,
    ) -> Result<Next> {
        let expires = [(&todo.role(), todo.revision().expires)];
        let expiry = Expiry::of(repository, expires, &self.handles.clock, &error);
        let now = self.handles.clock.now();
        let evidence_expires = match todo {
            Todo::Snapshot(_) => run.signed().map(|document| document.expires).min(),
            Todo::Timestamp(_) => Some(timestamp::snapshot(&self.handles, run)?.expires),
        };
        let asked = Asked { expiry, evidence_expires, submissions: 0 };
        match (after(&error, asked, now), todo) {
            (Verdict::Redate, todo) => {
                let row = todo.redated(&run.row, repository.expiry(&todo.role(), now));
                self.journal_row(todo.planned(), &row).await?;
                Ok(Next::Row(row.into()))
            }
            (Verdict::RenewEvidence, Todo::Snapshot(_)) => self.send_back(repository, run).await,
            (Verdict::RenewEvidence, Todo::Timestamp(_)) => {
                let expired = timestamp::snapshot(&self.handles, run)?.reference;
                let next = revision_after(repository, &RoleName::snapshot(), Some(expired), now)?;
                let row = next::with_snapshot(&run.row, next);
                self.journal_row(Effect::PlanSnapshot, &row).await?;
                Ok(Next::Row(row.into()))
            }
            (Verdict::Rebase, _) => self.overtaken(repository, run).await,
            (Verdict::Prove(role), _) => {
                self.handles.prove(group, &role).await?;
                Err(error)
            }
            (Verdict::Without(_) | Verdict::GiveUp, Todo::Snapshot(_)) if run.can_be_given_up() => {
                Ok(Next::Refused(error))
            }
            (Verdict::Without(_) | Verdict::Repeat | Verdict::GiveUp, _) => Err(error),
        }
    }

    /// A signer signed for somebody else: the run goes on above that.
    pub(super) async fn overtaken(&self, repository: &Arc<Repository>, run: &Run) -> Result<Next> {
        let row = overtaken::above(&self.handles, repository, run).await?;
        tracing::warn!(
            documents = row.collected.len(),
            "signers signed for another request: the publication goes above that"
        );
        self.journal_row(Effect::PlanSnapshot, &row).await?;
        Ok(Next::Row(row.into()))
    }

    /// The batch's documents expired before they were published: the batcher has them renewed first.
    async fn send_back(&self, repository: &Repository, run: &Run) -> Result<Next> {
        let Some((batch, _)) = &run.batch else { return Ok(Next::Ended) };
        let Some(signed) = &batch.signed else { return Ok(Next::Ended) };
        let renewal = |document: &SignedDocument| {
            let role = document.reference.role.clone();
            let base = Some(document.reference.clone());
            let revision = revision_after(repository, &role, base, self.handles.clock.now())?;
            Ok(RolePlan { role, revision, renew: true, withdraws: None })
        };
        let roles = signed.documents.iter().map(renewal).collect::<Result<_>>()?;
        let applied = Some(signed.outcomes.clone());
        let batch = BatchRow { id: run.row.id, roles, applied, signed: None, ..batch.clone() };
        let entry = blocking(move || {
            let mut entry = Entry::of_batch(&batch);
            entry.set_lane(None);
            Ok(entry)
        });
        self.handles.commit(entry.await?).await?;
        Ok(Next::Ended)
    }
}
