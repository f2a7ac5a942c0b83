//! Step 1 of a publication: the targets signer applies the changes of a batch.
//!
//! Natural batching: the next batch is what gathered while the last one was on its way. The whole request is journalled
//! before its first call and never changes afterwards, so that after any crash the very same request is asked again,
//! and the signer answers the very same bytes.

mod answers;
mod refusals;
mod renewals;
mod sent;
mod settle;
mod space;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::stream::{self, StreamExt as _};
use prometheus_client::metrics::histogram::Histogram;
use rstuf_runtime::{
    Metrics,
    liveness::{beat, idle},
    names, telemetry,
};
use rstuf_tuf::RoleName;
use tokio::sync::{OnceCell, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;

use crate::{
    Repository, Result,
    backoff::Backoff,
    batch::{changes::Changes, finish, plan, withdrawal::Withdrawal},
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    intake::{Intake, queue::Selection},
    journal::{
        Entry,
        rows::{BatchRow, LaneRow, RolePlan, SignedRoles},
    },
    lane::LaneHandle,
    pace::Pace,
    published::retention::Retention,
    signers::{Group, wrong},
    tasks::Progress,
    troubles::Work,
};
use answers::Answers;
pub(crate) use refusals::Refusals;
pub(crate) use renewals::Renewals;
use renewals::Turn;
use sent::Sent;

/// Chunks of a signing request made ahead.
const CHUNKS_AHEAD: usize = 2;

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
    /// What was refused of what it renews.
    pub renewals: Renewals,
    /// What was given up.
    pub refusals: Refusals,
    /// What is deleted, and when.
    pub retention: Retention,
    /// Sizes of batches.
    pub sizes: Sizes,
}

/// Histograms of batch sizes.
pub(crate) struct Sizes {
    submissions: Histogram,
    changes: Histogram,
}

/// A batch that is to be journalled.
struct Planned {
    batch: BatchRow,
    changes: Changes,
    entry: Entry,
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
            let batch = match self.handles.batch().await? {
                Some(batch) => Some(self.found(&repository, batch).await?),
                None => self.plan(&repository).await?,
            };
            match batch {
                Some((batch, changes)) => {
                    let span = Self::span(&batch, &changes);
                    self.drive(&repository, batch, changes).instrument(span).await?;
                }
                None => idle(self.wait(&repository)).await,
            }
        }
        Ok(())
    }

    /// The batch goes on in the trace of its first submission.
    fn span(batch: &BatchRow, changes: &Changes) -> tracing::Span {
        let span = tracing::info_span!("batch", batch = %batch.id, submissions = batch.submissions.len());
        if let Some(trace) = changes.submissions().first().and_then(|row| row.trace.as_ref()) {
            telemetry::set_parent(&span, trace);
        }
        span
    }

    async fn wait(&self, repository: &Repository) {
        let due = |now| self.renewals.next_due(repository, &self.handles.published, now);
        tokio::select! {
            () = self.intake.added() => {}
            () = self.handles.clock.sleep_until_due(due) => {}
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
        let mut backoff = Backoff::new(self.handles.shutdown.clone());
        let Planned { batch, changes, entry } = loop {
            let due = self.renewals.due(repository, &self.handles.published, self.handles.clock.now());
            let (selection, renew) = self.select(due.clone());
            let error = match self.make(repository, &selection, renew).await {
                Ok(Some(made)) => break made,
                Ok(None) => return Ok(None),
                Err(error) if error.is_no_space() => error,
                Err(error) => return Err(error),
            };
            // That passes: what was taken out of the queue is not given up for it, and renewals go on.
            self.handles.troubles.happened(Work::Batch, &error);
            self.intake.put_back(Arc::unwrap_or_clone(selection));
            if let Some(made) = self.make(repository, &Arc::default(), due).await? {
                break made;
            }
            if !backoff.wait().await {
                return Ok(None);
            }
        };
        self.sizes.submissions.observe(batch.submissions.len() as f64);
        self.sizes.changes.observe(changes.submissions().iter().map(|row| row.changes).sum::<u64>() as f64);
        self.handles.effects.run(Effect::PlanBatch, self.handles.commit(entry)).await?;
        Ok(Some((batch, changes)))
    }

    /// What the next batch takes of what waits, and of the renewals that are due.
    fn select(&self, due: BTreeSet<RoleName>) -> (Arc<Selection>, BTreeSet<RoleName>) {
        let (is_suspect, is_idle) = {
            let queue = self.intake.queue();
            (queue.is_suspect(), queue.waiting() == 0)
        };
        let in_doubt = is_suspect || !self.handles.published.withdrawn().is_empty();
        match self.renewals.turn(due, in_doubt, is_idle) {
            Turn::Renewals(due) => (Arc::default(), due),
            Turn::Submissions => (self.intake.take().into(), BTreeSet::new()),
            Turn::Both(due) => {
                let selection = self.intake.take();
                let renew = if selection.is_suspect() { BTreeSet::new() } else { due };
                (selection.into(), renew)
            }
        }
    }

    async fn make(
        &self,
        repository: &Arc<Repository>,
        selection: &Arc<Selection>,
        renew: BTreeSet<RoleName>,
    ) -> Result<Option<Planned>> {
        let (journal, published) = (self.handles.journal.clone(), self.handles.published.clone());
        let (repository, selection, now) = (repository.clone(), selection.clone(), self.handles.clock.now());
        let id = self.handles.next_id();
        let made = blocking(move || {
            let seqs: Vec<u64> = selection.submissions.iter().map(|entry| entry.seq).collect();
            let changes = Changes::new(&journal, repository, &seqs)?;
            space::check_journal(&journal, &changes)?;
            let batch = plan::batch(&selection, &changes, &renew, &published, id, now)?;
            Ok(batch.map(|batch| Planned { entry: Entry::of_batch(&batch), batch, changes }))
        })
        .await?;
        if let Some(Planned { batch, changes, .. }) = &made {
            space::check_published(&self.handles, batch, changes).await?;
        }
        Ok(made)
    }

    async fn drive(&self, repository: &Arc<Repository>, mut batch: BatchRow, changes: Changes) -> Result<()> {
        // Also while the signer is away: what is in a batch can't be cancelled.
        self.handles.tasks.progress(&finish::tasks(&changes, &batch), Progress::of(&batch));
        if batch.signed.is_none() {
            let Some(mut signed) = self.sign(&changes, repository, &mut batch).await? else { return Ok(()) };
            signed.run = self.plan_run(repository, &batch, &signed)?.map(Box::new);
            batch.signed = Some(signed);
            batch = self.handles.effects.run(Effect::JournalTargets, self.handles.commit_batch(batch)).await?;
        }
        let roles: Vec<RoleName> = batch.roles.iter().map(|plan| plan.role.clone()).collect();
        let alone = batch.submissions.is_empty();
        // Nobody asks for them role by role any more.
        drop((changes, batch));
        // That one beats for itself.
        if let Some(refused) = idle(self.lane.publish()).await? {
            return self.handed_back(repository, &refused).await;
        }
        // Also one that has to be renewed first: it will be.
        if self.renewals.published(&roles, alone) {
            self.handles.troubles.ended(Work::Renewal);
        }
        Ok(())
    }

    /// The run that publishes what was signed, as the lane would plan it now: then one entry of the journal says both.
    /// None where nothing is to be published.
    fn plan_run(&self, repository: &Repository, batch: &BatchRow, signed: &SignedRoles) -> Result<Option<LaneRow>> {
        let Handles { published, clock, .. } = &self.handles;
        let is_needed = signed.changes_something(batch);
        is_needed.then(|| plan::run(repository, published, self.handles.next_id(), true, clock.now())).transpose()
    }

    /// Asks until there is an answer; none if the batch has to be planned again.
    async fn sign(
        &self,
        changes: &Changes,
        repository: &Arc<Repository>,
        batch: &mut BatchRow,
    ) -> Result<Option<SignedRoles>> {
        let (withdrawal, mut backoff) = (OnceCell::new(), Backoff::new(self.handles.shutdown.clone()));
        loop {
            let asked = self.ask(changes, repository, batch, &withdrawal);
            match self.handles.effects.run(Effect::SignTargets, asked).await {
                Ok(signed) => {
                    self.handles.effects.run(Effect::WriteTargets, self.handles.publisher.barrier()).await?;
                    self.handles.troubles.ended(Work::Batch);
                    self.refusals.forget(signed.documents.iter().map(|document| &document.reference.role));
                    return Ok(Some(signed));
                }
                Err(error) if error.is_transient() => {
                    if self.settle(changes, batch, &error).await? {
                        self.handles.troubles.ended(Work::Batch);
                        return Ok(None);
                    }
                    self.handles.troubles.happened(Work::Batch, &error);
                    if self.gives_way(changes, batch, &error).await? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
            if !backoff.wait().await {
                return Ok(None);
            }
        }
    }

    /// `withdrawal` is found out by the first who asks.
    async fn ask(
        &self,
        changes: &Changes,
        repository: &Arc<Repository>,
        batch: &BatchRow,
        withdrawal: &OnceCell<Withdrawal>,
    ) -> Result<SignedRoles> {
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (all, plan) = (changes.clone(), batch.clone());
        if batch.applied.is_none() {
            // First: from its call on, the signer waits for messages.
            let changes = changes.clone();
            blocking(move || changes.gather()).await?;
        }
        let withdrawal = withdrawal.get_or_try_init(|| Withdrawal::of(&self.handles, batch)).await?;
        let (tasks, before) = (finish::tasks(changes, batch), withdrawal.clone());
        let mut sent = Sent::new(sender, self.handles.tasks.clone(), tasks.clone(), Progress::of(batch));
        let feeder = blocking(move || {
            let counts = all.request(&plan, &before, |message| sent.push(message))?;
            sent.flush();
            Ok(counts)
        });
        let answers = Answers { handles: &self.handles, repository, batch, tasks };
        let signed = async {
            if batch.roles.is_empty() {
                return Ok(SignedRoles::default());
            }
            let messages = ReceiverStream::new(receiver).flat_map(stream::iter);
            let stream = self.handles.signers.sign_targets(messages).await?;
            answers.read(stream).await
        };
        let (counts, signed) = tokio::join!(feeder, signed);
        let (counts, mut signed) = (counts?, signed?);
        check_outcomes(batch, &counts, withdrawal, &mut signed)?;
        if let Some(applied) = &batch.applied {
            signed.outcomes.clone_from(applied);
        }
        Ok(signed)
    }
}

/// Checks that each change has its outcome, and leaves out those of what was taken back: found out now, not when
/// clients have seen it and its tasks can't end.
fn check_outcomes(
    batch: &BatchRow,
    counts: &BTreeMap<RoleName, u64>,
    withdrawal: &Withdrawal,
    signed: &mut SignedRoles,
) -> Result<()> {
    for RolePlan { role, .. } in &batch.roles {
        let withdrawn = withdrawal.count(role);
        let changes = counts.get(role).copied().unwrap_or(0) + withdrawn;
        let answered = signed.outcomes.get_mut(role);
        let outcomes = answered.as_ref().map_or(0, |outcomes| outcomes.len());
        if outcomes as u64 != changes {
            let message = format!("{outcomes} outcomes for {changes} changes");
            return Err(wrong(Group::Targets, role.as_str(), message));
        }
        if let Some(outcomes) = answered.filter(|_| withdrawn > 0) {
            *outcomes = outcomes.iter().skip(withdrawn as usize).collect();
        }
    }
    Ok(())
}
