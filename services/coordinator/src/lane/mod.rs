//! Steps 2 to 5 of a publication: snapshot, timestamp, publish, finish.
//!
//! All that raises the versions of snapshot and timestamp goes through this one lane: batches, and the renewals that
//! keep a quiet repository fresh. A batch that is stuck at the targets signer therefore can't stop a renewal.

mod catch_up;
mod check;
mod finish;
mod next;
mod overtaken;
mod refresh;
mod run;
mod snapshot;
mod timestamp;
mod way;

use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use rstuf_runtime::{
    liveness::{beat, idle},
    telemetry,
};
use rstuf_tuf::{Revision, RoleName};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    batch::plan::{next_revision, revision_after},
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    journal::{
        Entry,
        rows::{BatchRow, LaneRow, RolePlan, SignedDocument},
    },
    pace::Pace,
    published::{Published, index::Index, retention::Retention},
    troubles::Work,
    verdict::{Asked, Expiry, Verdict, after},
};
use next::Todo;
use run::Run;

/// For the batcher: hands over the batch under way.
#[derive(Clone)]
pub(crate) struct LaneHandle {
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

impl LaneHandle {
    /// A handle, and the end that the lane listens at.
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (requests, receiver) = mpsc::channel(1);
        (Self { requests }, receiver)
    }

    /// Publishes the batch that is journalled as signed; answers when it is finished, or at once if it is already.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the lane stopped.
    pub(crate) async fn publish(&self) -> Result<()> {
        let (done, finished) = oneshot::channel();
        self.requests.send(done).await.map_err(|_| Error::Stopping)?;
        finished.await.map_err(|_| Error::Stopping)
    }
}

/// The task that owns snapshot and timestamp.
pub(crate) struct Lane {
    /// What it works with.
    pub handles: Handles,
    /// The list of artifacts.
    pub index: Index,
    /// What is deleted, and when.
    pub retention: Retention,
    /// How fast publications may follow each other.
    pub pace: Pace,
    /// Publications made visible.
    pub publications: Counter,
    /// From the batcher.
    pub requests: mpsc::Receiver<oneshot::Sender<()>>,
}

/// How a run goes on.
enum Next {
    /// With this row, which is journalled.
    Row(Box<LaneRow>),
    /// Not at all: it is finished, or its batch goes back.
    Ended,
}

impl Lane {
    /// Publishes until the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(crate) async fn run(mut self) -> Result<()> {
        let Handles { published, clock, shutdown, .. } = self.handles.clone();
        // After a ceremony there is nothing yet that signers could know better.
        let is_known = published.repository().is_some();
        let repository = tokio::select! {
            repository = idle(published.wait_repository()) => repository,
            () = shutdown.wait() => return Ok(()),
        };
        if is_known && let Some(row) = self.catch_up(&repository).await? {
            self.drive(&repository, row).await?;
        }
        if shutdown.is_triggered() {
            return Ok(());
        }
        self.index.set_caught_up();
        while !shutdown.is_triggered() {
            let due = |now| next_due(&published, &repository, now);
            tokio::select! {
                request = idle(self.requests.recv()) => {
                    let Some(done) = request else { return Ok(()) };
                    self.publish_batch(&repository).await?;
                    if !shutdown.is_triggered() {
                        // The batcher waits for this; if it stopped meanwhile, nobody does.
                        let _ = done.send(());
                    }
                }
                () = clock.sleep_until_due(due) => self.renew(&repository).await?,
                () = shutdown.wait() => {}
            }
        }
        Ok(())
    }

    async fn publish_batch(&self, repository: &Arc<Repository>) -> Result<()> {
        let Some(batch) = self.handles.batch().await? else { return Ok(()) };
        let Some(signed) = &batch.signed else { return Ok(()) };
        let row = LaneRow::new(self.handles.next_id(), true);
        if signed.documents.is_empty() && batch.offline.is_empty() {
            let run = Run::with_batch(&self.handles, repository, row, batch).await?;
            return finish::unchanged(&self.handles, &self.index, &run).await;
        }
        drop(batch);
        let row = self.plan_snapshot(repository, row).await?;
        self.drive(repository, row).await
    }

    async fn plan_snapshot(&self, repository: &Repository, row: LaneRow) -> Result<LaneRow> {
        let row = LaneRow { snapshot: Some(self.next_revision(repository, &RoleName::snapshot())?), ..row };
        self.journal_row(Effect::PlanSnapshot, &row).await?;
        Ok(row)
    }

    async fn renew(&self, repository: &Arc<Repository>) -> Result<()> {
        let now = self.handles.clock.now();
        let published = self.handles.published.role(&RoleName::snapshot());
        let snapshot_due =
            published.is_none_or(|row| repository.renewal_due(&RoleName::snapshot(), row.expires, now) <= now);
        let mut row = LaneRow::new(self.handles.next_id(), false);
        if snapshot_due {
            row = self.plan_snapshot(repository, row).await?;
        } else {
            row.timestamp = Some(self.next_revision(repository, &RoleName::timestamp())?);
            self.journal_row(Effect::PlanTimestamp, &row).await?;
        }
        self.drive(repository, row).await
    }

    fn next_revision(&self, repository: &Repository, role: &RoleName) -> Result<Revision> {
        next_revision(repository, &self.handles.published, role, self.handles.clock.now())
    }

    async fn journal_row(&self, effect: Effect, row: &LaneRow) -> Result<()> {
        let entry = entry_of(row).await?;
        self.handles.effects.run(effect, self.handles.commit(entry)).await
    }

    /// Takes a run from wherever it is to its end. Ends early at a shutdown, when a batch has to go back, and when it
    /// makes way for a renewal: then it answers how far it is.
    async fn advance_to_end(&self, repository: &Arc<Repository>, row: LaneRow) -> Result<Option<LaneRow>> {
        let span = tracing::info_span!("publication", run = %row.id);
        let mut run = Run::load(&self.handles, repository, row).await?;
        if let Some(trace) = run.trace() {
            telemetry::set_parent(&span, trace);
        }
        let mut backoff = Backoff::new(self.handles.shutdown.clone());
        loop {
            beat();
            match self.advance(repository, &run).instrument(span.clone()).await {
                Ok(Next::Row(row)) => {
                    self.handles.troubles.ended(Work::Publication);
                    run.row = *row;
                }
                Ok(Next::Ended) => {
                    self.handles.troubles.ended(Work::Publication);
                    self.handles.troubles.ended(Work::Refresh);
                    return Ok(None);
                }
                Err(error) if error.is_transient() => {
                    self.handles.troubles.happened(Work::Publication, &error);
                    self.refresh(repository, &mut run).instrument(span.clone()).await?;
                    if self.makes_way(repository, &run).await {
                        return Ok(Some(run.row));
                    }
                    if !backoff.wait().await {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn advance(&self, repository: &Arc<Repository>, run: &Run) -> Result<Next> {
        let todo = next::next(&run.row)?;
        let advanced = match todo {
            Todo::Snapshot(revision) => self.snapshot(repository, run, revision).await,
            Todo::Timestamp(revision) => self.timestamp(repository, run, revision).await,
        };
        match advanced {
            Err(error @ Error::SignerRefused { .. }) => self.settle(repository, run, todo, error).await,
            advanced => advanced,
        }
    }

    async fn snapshot(&self, repository: &Arc<Repository>, run: &Run, revision: &Revision) -> Result<Next> {
        let Some(document) = snapshot::sign(&self.handles, repository, run, revision).await? else {
            return self.overtaken(repository, run).await;
        };
        let timestamp = match &run.row.timestamp {
            Some(revision) => revision.clone(),
            None => self.next_revision(repository, &RoleName::timestamp())?,
        };
        let row = next::with_timestamp(&run.row, document, timestamp);
        self.journal_row(Effect::PlanTimestamp, &row).await?;
        Ok(Next::Row(row.into()))
    }

    async fn timestamp(&self, repository: &Arc<Repository>, run: &Run, revision: &Revision) -> Result<Next> {
        let document = timestamp::publish(&self.handles, repository, run, revision).await?;
        let written = finish::published(&self.handles, &self.index, &self.retention, run, document, None).await?;
        self.pace.published(written);
        self.publications.inc();
        Ok(Next::Ended)
    }

    /// Acts on a refusal: either the run goes on with another row, or it waits and asks the same again.
    async fn settle(&self, repository: &Arc<Repository>, run: &Run, todo: Todo<'_>, error: Error) -> Result<Next> {
        let Error::SignerRefused { group, .. } = &error else { return Err(error) };
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
                self.handles.prove(*group, &role).await?;
                Err(error)
            }
            (Verdict::Without(_) | Verdict::Repeat | Verdict::GiveUp, _) => Err(error),
        }
    }

    /// A signer signed for somebody else: the run goes on above that.
    async fn overtaken(&self, repository: &Arc<Repository>, run: &Run) -> Result<Next> {
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
            Ok(RolePlan { role, revision, renew: true })
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

/// That this is the run under way; with what was collected of thousands of roles it takes a while to write.
async fn entry_of(row: &LaneRow) -> Result<Entry> {
    if row.collected.is_empty() {
        return Ok(Entry::of_lane(row));
    }
    let row = row.clone();
    blocking(move || Ok(Entry::of_lane(&row))).await
}

/// When snapshot or timestamp have to be renewed; never before the first publication.
fn next_due(published: &Published, repository: &Repository, now: Timestamp) -> Timestamp {
    let due = |role| due(published, repository, &role, now);
    due(RoleName::snapshot()).min(due(RoleName::timestamp()))
}

/// When what is published of a role has to be renewed; never where there is nothing.
fn due(published: &Published, repository: &Repository, role: &RoleName, now: Timestamp) -> Timestamp {
    let row = published.role(role);
    row.map_or(Timestamp::MAX, |row| repository.renewal_due(role, row.expires, now))
}
