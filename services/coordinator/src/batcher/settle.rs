//! What becomes of a batch that the targets signer refuses. A refusal signs nothing, and what it signed of another
//! request for these versions is found out when they are asked for again.

use std::{collections::BTreeSet, sync::Arc};

use rstuf_api::{Kinded as _, Refusal};

use super::Batcher;
use crate::{
    Error, Repository, Result,
    batch::{changes::Changes, finish, plan},
    effects::Effect,
    fitness,
    journal::{
        Entry,
        rows::{BatchRow, Standing, TaskError},
    },
    publisher::file_name,
    signers::Group,
    tasks::Ending,
    troubles::Work,
    verdict::{Asked, Expiry, Verdict, after},
};

/// Tries until a batch that is refused for what it asks for is taken apart. That costs nothing.
const TRIES_TOGETHER: u32 = 2;
/// Tries until one submission alone is set aside, or the renewal of one role put off, unless another was for the same.
const TRIES_ALONE: u32 = 8;

impl Batcher {
    /// Acts on what the signer said. Answers whether the batch is another one now, or none: nothing of it was signed.
    pub(super) async fn settle(&self, changes: &Changes, batch: &mut BatchRow, error: &Error) -> Result<bool> {
        let repository = changes.repository();
        let roles = batch.roles.iter().map(|plan| (&plan.role, plan.revision.expires));
        let expiry = Expiry::of(repository, roles, &self.handles.clock, error);
        let asked = Asked { expiry, evidence_expires: None, submissions: batch.submissions.len() };
        let now = self.handles.clock.now();
        let withdrawn = self.handles.published.withdrawn();
        if let Some(along) = plan::along(batch, error, &withdrawn, self.handles.next_id()) {
            tracing::warn!(%error, "what was withdrawn can't be taken back, and is published along");
            self.handles.commit_batch(along).await?;
            return Ok(true);
        }
        match after(error, asked, now) {
            Verdict::Without(_) if plan::blames_in_doubt(batch, error) => self.refused(changes, batch, error).await,
            Verdict::Without(at_fault) => {
                tracing::warn!(submissions = at_fault.len(), %error, "submissions were refused");
                self.drop_batch(changes, batch, &at_fault, task_error(error)).await?;
                Ok(true)
            }
            Verdict::Redate => {
                tracing::warn!(%error, "the batch waited too long, and is asked for with another expiry");
                let id = self.handles.next_id();
                self.handles.commit_batch(plan::redated(repository, batch, id, now)).await?;
                Ok(true)
            }
            Verdict::Rebase => self.rebase(batch).await,
            Verdict::Prove(role) => {
                self.handles.prove(Group::Targets, &role).await?;
                Ok(false)
            }
            Verdict::GiveUp => self.refused(changes, batch, error).await,
            Verdict::RenewEvidence | Verdict::Repeat => Ok(false),
        }
    }

    /// The signer signed one of these versions for somebody else: the batch is asked for above it. Answers whether it
    /// is another one now.
    async fn rebase(&self, batch: &BatchRow) -> Result<bool> {
        let states = match self.handles.signers.role_states(Group::Targets).await {
            Ok(states) => states,
            Err(error) if error.is_transient() => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(rebased) = plan::rebased(batch, &states, self.handles.next_id())? else { return Ok(false) };
        tracing::warn!("the targets signer signed for another request: the batch goes above that");
        self.handles.commit_batch(rebased).await?;
        Ok(true)
    }

    /// Where there is no space for the changes of a batch, and something has to be renewed, it waits in the queue
    /// again, and what is due is planned without it. Answers whether it does. One that is signed is asked for as it is:
    /// only that gives each of its changes its own outcome.
    pub(super) async fn gives_way(&self, changes: &Changes, batch: &BatchRow, error: &Error) -> Result<bool> {
        let now = self.handles.clock.now();
        let is_due = || !self.renewals.due(changes.repository(), &self.handles.published, now).is_empty();
        if !error.is_no_space() || changes.submissions().is_empty() || batch.applied.is_some() || !is_due() {
            return Ok(false);
        }
        let is_signed = match self.handles.signers.role_states(Group::Targets).await {
            Ok(states) => plan::rebased(batch, &states, batch.id)?.is_some(),
            Err(error) if error.is_transient() => return Ok(false),
            Err(error) => return Err(error),
        };
        if !is_signed {
            self.drop_batch(changes, batch, &BTreeSet::new(), task_error(error)).await?;
        }
        Ok(!is_signed)
    }

    /// Gives the batch up; the submissions at fault fail, the others wait again.
    async fn drop_batch(
        &self,
        changes: &Changes,
        batch: &BatchRow,
        at_fault: &BTreeSet<usize>,
        error: TaskError,
    ) -> Result<()> {
        let (all, planned, without, now) =
            (changes.clone(), batch.clone(), at_fault.clone(), self.handles.steady.now());
        let split = self.handles.read(move |journal| {
            let mut entry = Entry::new();
            entry.set_batch(None);
            finish::fail(journal, &mut entry, &all, &planned, &without, &error, now)?;
            // Read before the commit deletes what is at fault.
            Ok((entry, finish::rest(&all, &planned, &without)?))
        });
        let (entry, rest) = split.await?;
        self.handles.commit(entry).await?;
        self.handles.tasks.count_ended(Ending::Failed, at_fault.len());
        // Watchers of the others see that they wait again.
        self.handles.tasks.settled(&finish::tasks(changes, batch));
        self.intake.put_back(rest);
        Ok(())
    }

    /// Counts that the batch is refused for what it asks for, and gives it up after some tries. A signer that signs
    /// nothing for this repository says nothing about a batch, whatever its words are.
    async fn refused(&self, changes: &Changes, batch: &mut BatchRow, error: &Error) -> Result<bool> {
        if batch.is_ceremony() || !self.is_signer_fit(changes.repository()).await {
            return Ok(false);
        }
        batch.refusals += 1;
        let tries_max = match is_alone(changes, batch) {
            _ if self.refusals.has(error) => 1,
            true => TRIES_ALONE,
            false => TRIES_TOGETHER,
        };
        if batch.refusals < tries_max {
            self.handles.commit_batch(batch.clone()).await?;
            return Ok(false);
        }
        self.give_up(changes, batch, error).await?;
        Ok(true)
    }

    async fn is_signer_fit(&self, repository: &Repository) -> bool {
        let described = self.handles.signers.describe(Group::Targets).await;
        described.is_ok_and(|signer| fitness::fault(repository, Group::Targets, &signer).is_none())
    }

    /// Gives up the batch that the lane hands back: it is signed, and the snapshot signer refuses it.
    pub(super) async fn handed_back(&self, repository: &Arc<Repository>, error: &Error) -> Result<()> {
        let Some(batch) = self.handles.batch().await? else { return Ok(()) };
        let (batch, changes) = self.found(repository, batch).await?;
        self.give_up(&changes, &batch, error).await
    }

    /// Takes the batch apart. Of one that can't be, the submission is set aside, or the renewal put off. What was
    /// signed of it is withdrawn: the next documents of its roles say again what is published.
    async fn give_up(&self, changes: &Changes, batch: &BatchRow, error: &Error) -> Result<()> {
        let is_alone = is_alone(changes, batch);
        if is_alone {
            self.refusals.add(error);
        }
        if batch.roles.iter().any(|plan| plan.renew) {
            self.renewals.refused(batch, self.handles.clock.now());
        }
        if is_alone && batch.submissions.is_empty() {
            self.handles.troubles.happened(Work::Renewal, error);
        }
        let standing =
            if is_alone { Standing::SetAside } else { Standing::Suspect((batch.submissions.len() / 2).max(1)) };
        let error = task_error(error);
        let (all, planned, why) = (changes.clone(), batch.clone(), error.clone());
        let published = self.handles.published.clone();
        let doubted = self.handles.read(move |journal| {
            let mut entry = Entry::new();
            entry.set_batch(None);
            let withdrawn = published.unseen(finish::signed(&planned));
            withdrawn.iter().for_each(|document| entry.put_withdrawn(document));
            let doubted = finish::doubt(journal, &mut entry, &all, &planned, standing, &why)?;
            Ok((entry, withdrawn, doubted))
        });
        let (entry, withdrawn, mut doubted) = doubted.await?;
        let tasks = doubted.tasks();
        if standing == Standing::SetAside && !doubted.submissions.is_empty() {
            self.handles.effects.run(Effect::SetAside, self.handles.commit(entry)).await?;
            for aside in doubted.submissions.drain(..) {
                let TaskError { reason, message } = &error;
                tracing::error!(task = %aside.task, reason, message, "a submission is set aside until somebody acts");
                self.intake.put_aside(aside);
            }
        } else {
            self.handles.effects.run(Effect::GiveUp, self.handles.commit(entry)).await?;
        }
        let superseded = self.handles.published.withdraw(withdrawn);
        self.retention.push(superseded.iter().map(|it| file_name(&it.role, it.version)).collect());
        self.intake.put_back(doubted);
        self.handles.tasks.settled(&tasks);
        Ok(())
    }
}

/// Whether what is at fault is known: one submission that was asked for without renewals, or one renewal, or what was
/// collected.
fn is_alone(changes: &Changes, batch: &BatchRow) -> bool {
    match changes.submissions() {
        [] => batch.roles.len() <= 1,
        [submission] => submission.standing != Standing::Trusted,
        _ => false,
    }
}

fn task_error(error: &Error) -> TaskError {
    let reason = error.reason().map_or(Refusal::Internal, |reason| reason.name).to_string();
    TaskError { reason, message: error.to_string() }
}
