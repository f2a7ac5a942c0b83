//! Step 1 of a publication: the targets signer applies the changes of a batch.
//!
//! Natural batching: the next batch is what gathered while the last one was on its way. The whole request is journalled
//! before its first call and never changes afterwards, so that after any crash the very same request is asked again,
//! and the signer answers the very same bytes.

mod answers;
mod sent;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use rstuf_runtime::{
    Metrics,
    liveness::{beat, idle},
    names, telemetry,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    batch::{changes::Changes, finish, plan},
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    intake::{Intake, queue::Selection},
    journal::{
        Entry, Outcomes,
        rows::{BatchRow, SignedRoles, TaskError},
    },
    lane::LaneHandle,
    pace::Pace,
    signers::{Group, wrong},
    tasks::{Ending, Progress},
    troubles::Work,
    verdict::{Asked, Verdict, after_refusal},
};
use answers::Answers;
use sent::Sent;

/// Messages of a signing request made ahead.
const MESSAGES_AHEAD: usize = 4;

/// The task that makes batches, one at a time.
pub(crate) struct Batcher {
    /// What it works with.
    pub handles: Handles,
    /// What waits.
    pub intake: Intake,
    /// What makes batches visible.
    pub lane: LaneHandle,
    /// How fast it may.
    pub pace: Pace,
    /// Sizes of batches.
    pub sizes: Sizes,
}

/// Histograms of batch sizes.
pub(crate) struct Sizes {
    submissions: Histogram,
    changes: Histogram,
}

impl Sizes {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            submissions: metrics.counts(names::BATCH_SUBMISSIONS, "submissions in a batch"),
            changes: metrics.counts(names::BATCH_CHANGES, "changes in a batch"),
        }
    }
}

impl Batcher {
    /// Makes batches until the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(crate) async fn run(self) -> Result<()> {
        let repository = tokio::select! {
            repository = idle(self.handles.published.wait_repository()) => repository,
            () = self.handles.shutdown.wait() => return Ok(()),
        };
        while !self.handles.shutdown.is_triggered() {
            beat();
            let batch = match self.handles.journal.batch()? {
                Some(batch) => Some(self.found(&repository, batch).await?),
                None => self.plan(&repository).await?,
            };
            match batch {
                Some((batch, changes)) => {
                    let span = self.span(&batch);
                    self.drive(&repository, batch, changes).instrument(span).await?;
                }
                None => idle(self.wait(&repository)).await,
            }
        }
        Ok(())
    }

    /// The batch goes on in the trace of its first submission.
    fn span(&self, batch: &BatchRow) -> tracing::Span {
        let span = tracing::info_span!("batch", batch = %batch.id, submissions = batch.submissions.len());
        let first = batch.submissions.first().and_then(|seq| self.handles.journal.submission(*seq).ok());
        if let Some(trace) = first.and_then(|row| row.trace) {
            telemetry::set_parent(&span, &trace);
        }
        span
    }

    async fn wait(&self, repository: &Repository) {
        let due = self.handles.published.next_due(repository).unwrap_or(Timestamp::MAX);
        tokio::select! {
            () = self.intake.added() => {}
            () = self.handles.clock.sleep_until(due) => {}
            () = self.handles.shutdown.wait() => {}
        }
    }

    /// A batch that was under way, or is asked for anew.
    async fn found(&self, repository: &Arc<Repository>, batch: BatchRow) -> Result<(BatchRow, Changes)> {
        let (journal, repository) = (self.handles.journal.clone(), repository.clone());
        blocking(move || Changes::new(&journal, repository, &batch.submissions).map(|changes| (batch, changes))).await
    }

    async fn plan(&self, repository: &Arc<Repository>) -> Result<Option<(BatchRow, Changes)>> {
        self.pace.ready().await;
        let selection = Arc::new(self.intake.take());
        let count: u64 = selection.submissions.iter().map(|entry| entry.changes).sum();
        // No space for the changes by role passes: what was taken out of the queue must not be given up for that.
        let attempt = || self.make(repository, &selection);
        let made = self.handles.until_done(Work::Batch, Error::is_no_space, attempt).await?;
        let Some((batch, changes)) = made.flatten() else { return Ok(None) };
        self.sizes.submissions.observe(batch.submissions.len() as f64);
        self.sizes.changes.observe(count as f64);
        let mut entry = Entry::new();
        entry.set_batch(Some(&batch));
        self.handles.effects.run(Effect::PlanBatch, self.handles.commit(entry)).await?;
        Ok(Some((batch, changes)))
    }

    async fn make(
        &self,
        repository: &Arc<Repository>,
        selection: &Arc<Selection>,
    ) -> Result<Option<(BatchRow, Changes)>> {
        let (journal, published) = (self.handles.journal.clone(), self.handles.published.clone());
        let (repository, selection, now) = (repository.clone(), selection.clone(), self.handles.clock.now());
        let id = self.handles.ids.next(now);
        blocking(move || {
            let seqs: Vec<u64> = selection.submissions.iter().map(|entry| entry.seq).collect();
            let changes = Changes::new(&journal, repository, &seqs)?;
            let batch = plan::batch(&selection, &changes, &published, id, now)?;
            Ok(batch.map(|batch| (batch, changes)))
        })
        .await
    }

    async fn drive(&self, repository: &Arc<Repository>, mut batch: BatchRow, changes: Changes) -> Result<()> {
        // Also while the signer is away: what is in a batch can't be cancelled.
        self.handles.tasks.progress(&finish::tasks(&changes, &batch), Progress::of(&batch));
        if batch.signed.is_none() {
            let Some(signed) = self.sign(&changes, repository, &batch).await? else { return Ok(()) };
            batch.signed = Some(signed);
            let mut entry = Entry::new();
            entry.set_batch(Some(&batch));
            self.handles.effects.run(Effect::JournalTargets, self.handles.commit(entry)).await?;
        }
        // Nobody asks for them role by role any more.
        drop((changes, batch));
        // That one beats for itself.
        idle(self.lane.publish()).await
    }

    /// Asks until there is an answer; none if the batch has to be planned again.
    async fn sign(
        &self,
        changes: &Changes,
        repository: &Arc<Repository>,
        batch: &BatchRow,
    ) -> Result<Option<SignedRoles>> {
        let mut backoff = Backoff::new(self.handles.shutdown.clone());
        loop {
            let asked = self.handles.effects.run(Effect::SignTargets, self.ask(changes, repository, batch)).await;
            match asked {
                Ok(signed) => {
                    self.handles.effects.run(Effect::WriteTargets, self.handles.publisher.barrier()).await?;
                    self.handles.troubles.ended(Work::Batch);
                    return Ok(Some(signed));
                }
                Err(error) if error.is_transient() => {
                    if self.settle(changes, batch, &error).await? {
                        self.handles.troubles.ended(Work::Batch);
                        return Ok(None);
                    }
                    self.handles.troubles.happened(Work::Batch, &error);
                }
                Err(error) => return Err(error),
            }
            if !backoff.wait().await {
                return Ok(None);
            }
        }
    }

    /// Acts on a refusal. Answers whether the batch is another one now, or none: nothing of it was signed.
    async fn settle(&self, changes: &Changes, batch: &BatchRow, error: &Error) -> Result<bool> {
        let Error::SignerRefused { objection, reason, message, .. } = error else { return Ok(false) };
        let now = self.handles.clock.now();
        let expires = batch.roles.iter().map(|plan| plan.revision.expires).min();
        let asked = Asked {
            expires: expires.unwrap_or(Timestamp::MAX),
            evidence_expires: None,
            submissions: batch.submissions.len(),
        };
        match after_refusal(objection, asked, now) {
            Verdict::Without(at_fault) => {
                tracing::warn!(submissions = at_fault.len(), message, "the targets signer refused submissions");
                let reason = reason.as_ref().map_or("", |reason| reason.name.as_str()).to_owned();
                let error = TaskError { reason, message: message.clone() };
                self.drop_batch(changes, batch, &at_fault, error).await?;
                Ok(true)
            }
            Verdict::Redate => {
                tracing::warn!(message, "the batch waited too long, and is asked for with another expiry");
                let mut entry = Entry::new();
                let id = self.handles.ids.next(now);
                entry.set_batch(Some(&plan::redated(changes.repository(), batch, id, now)));
                self.handles.commit(entry).await?;
                Ok(true)
            }
            Verdict::Rebase => self.rebase(batch).await,
            Verdict::Prove(role) => {
                self.handles.prove(Group::Targets, &role).await?;
                Ok(false)
            }
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
        let mut entry = Entry::new();
        entry.set_batch(Some(&rebased));
        self.handles.commit(entry).await?;
        Ok(true)
    }

    /// Gives the batch up; the submissions at fault fail, the others wait again.
    async fn drop_batch(
        &self,
        changes: &Changes,
        batch: &BatchRow,
        at_fault: &BTreeSet<usize>,
        error: TaskError,
    ) -> Result<()> {
        let mut entry = Entry::new();
        entry.set_batch(None);
        finish::fail(&self.handles.journal, &mut entry, changes, batch, at_fault, &error, self.handles.clock.now())?;
        // Read before the commit deletes what is at fault.
        let (all, planned, without) = (changes.clone(), batch.clone(), at_fault.clone());
        let rest = blocking(move || finish::rest(&all, &planned, &without)).await?;
        self.handles.commit(entry).await?;
        self.handles.tasks.count_ended(Ending::Failed, at_fault.len());
        // Watchers of the others see that they wait again.
        self.handles.tasks.settled(&finish::tasks(changes, batch));
        self.intake.put_back(rest);
        Ok(())
    }

    async fn ask(&self, changes: &Changes, repository: &Arc<Repository>, batch: &BatchRow) -> Result<SignedRoles> {
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let (all, plan) = (changes.clone(), batch.clone());
        if batch.applied.is_none() {
            // First: from its call on, the signer waits for messages.
            let changes = changes.clone();
            blocking(move || changes.gather()).await?;
        }
        let tasks = finish::tasks(changes, batch);
        let mut sent = Sent { told: self.handles.tasks.clone(), tasks: tasks.clone(), progress: Progress::of(batch) };
        let feeder = blocking(move || {
            all.request(&plan, |message| {
                beat();
                sent.count(&message);
                sender.blocking_send(message).is_ok()
            })
        });
        let answers = Answers { handles: &self.handles, repository, batch, tasks };
        let signed = async {
            if batch.roles.is_empty() {
                return Ok(SignedRoles { documents: Vec::new(), outcomes: BTreeMap::new() });
            }
            let stream = self.handles.signers.sign_targets(ReceiverStream::new(receiver)).await?;
            answers.read(stream).await
        };
        let (counts, signed) = tokio::join!(feeder, signed);
        let (counts, mut signed) = (counts?, signed?);
        // Found out now, not when clients have seen it and its tasks can't end.
        for plan in &batch.roles {
            let outcomes = signed.outcomes.get(&plan.role).map_or(0, Outcomes::len);
            let changes = counts.get(&plan.role).copied().unwrap_or(0);
            if outcomes as u64 != changes {
                let message = format!("{outcomes} outcomes for {changes} changes");
                return Err(wrong(Group::Targets, plan.role.as_str(), message));
            }
        }
        if let Some(applied) = &batch.applied {
            signed.outcomes.clone_from(applied);
        }
        Ok(signed)
    }
}
