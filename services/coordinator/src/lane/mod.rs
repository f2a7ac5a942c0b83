//! Steps 2 to 5 of a publication: snapshot, timestamp, publish, finish.
//!
//! All that raises the versions of snapshot and timestamp goes through this one lane: batches, and the renewals that
//! keep a quiet repository fresh. A batch that is stuck at the targets signer therefore can't stop a renewal.

mod catch_up;
mod check;
mod finish;
mod next;
mod overtaken;
mod plan;
mod refresh;
mod run;
mod settle;
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
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    journal::{Entry, rows::LaneRow},
    pace::Pace,
    published::{Published, index::Index, retention::Retention},
    troubles::Work,
};
use next::Todo;
use run::Run;

/// For the batcher: hands over the batch under way.
#[derive(Clone)]
pub(crate) struct LaneHandle {
    requests: mpsc::Sender<oneshot::Sender<HandedBack>>,
}

/// Why a batch is not published: the snapshot signer's refusal, which waiting will not mend.
type HandedBack = Option<Error>;

impl LaneHandle {
    /// A handle, and the end that the lane listens at.
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<HandedBack>>) {
        let (requests, receiver) = mpsc::channel(1);
        (Self { requests }, receiver)
    }

    /// Publishes the batch that is journalled as signed; answers when it is finished, or at once if it is already. One
    /// that the snapshot signer refuses, though it signs without it, is handed back with the reason: nothing of it is
    /// under way any more.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the lane stopped.
    pub(crate) async fn publish(&self) -> Result<HandedBack> {
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
    pub requests: mpsc::Receiver<oneshot::Sender<HandedBack>>,
}

/// Refusals of a batch's snapshot until it makes way.
const REFUSALS_MAX: u32 = 2;

/// A run of a batch that does not go on.
struct Stuck {
    /// How far it is.
    run: Run,
    /// None if a renewal is due.
    refused: Option<Error>,
}

/// How a run goes on.
enum Next {
    /// With this row. The journal has it, but for the document of a snapshot whose timestamp was planned with it: the
    /// snapshot's file says that it is signed.
    Row(Box<LaneRow>),
    /// Not at all: it is finished, or its batch is to be renewed.
    Ended,
    /// As it is; but the snapshot signer refuses its batch, which waiting will not mend.
    Refused(Error),
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
        if is_known && let Some(run) = Box::pin(self.catch_up(&repository)).await? {
            self.drive(&repository, run).await?;
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
                    let handed_back = self.publish_batch(&repository).await?;
                    if !shutdown.is_triggered() {
                        // The batcher waits for this; if it stopped meanwhile, nobody does.
                        let _ = done.send(handed_back);
                    }
                }
                () = clock.sleep_until_due(due) => self.renew(&repository).await?,
                () = shutdown.wait() => {}
            }
        }
        Ok(())
    }

    async fn publish_batch(&self, repository: &Arc<Repository>) -> Result<HandedBack> {
        let Some(batch) = self.handles.batch().await? else { return Ok(None) };
        let Some(signed) = &batch.signed else { return Ok(None) };
        if !signed.changes_something(&batch) {
            let row = LaneRow::new(self.handles.next_id(), true);
            let run = Run::with_batch(&self.handles, repository, row, batch).await?;
            return finish::unchanged(&self.handles, &self.index, &run).await.map(|()| None);
        }
        let row = match self.planned(&batch) {
            Some(row) => row,
            None => self.plan(repository, true).await?,
        };
        let run = Run::with_batch(&self.handles, repository, row, batch).await?;
        self.drive(repository, run).await
    }

    async fn renew(&self, repository: &Arc<Repository>) -> Result<()> {
        let now = self.handles.clock.now();
        let published = self.handles.published.role(&RoleName::snapshot());
        let snapshot_due =
            published.is_none_or(|row| repository.renewal_due(&RoleName::snapshot(), row.expires, now) <= now);
        let row = if snapshot_due {
            self.plan(repository, false).await?
        } else {
            let timestamp = Some(self.next_revision(repository, &RoleName::timestamp())?);
            let row = LaneRow { timestamp, ..LaneRow::new(self.handles.next_id(), false) };
            self.journal_row(Effect::PlanTimestamp, &row).await?;
            row
        };
        self.drive(repository, Run::without_batch(row)).await.map(drop)
    }

    async fn journal_row(&self, effect: Effect, row: &LaneRow) -> Result<()> {
        let entry = entry_of(row).await?;
        self.handles.effects.run(effect, self.handles.commit(entry)).await
    }

    /// Takes a run from wherever it is to its end. Ends early at a shutdown, when a batch has to be renewed, and when
    /// it has to make way.
    async fn advance_to_end(&self, repository: &Arc<Repository>, mut run: Run) -> Result<Option<Stuck>> {
        let span = tracing::info_span!("publication", run = %run.row.id);
        if let Some(trace) = run.trace() {
            telemetry::set_parent(&span, trace);
        }
        let mut backoff = Backoff::new(self.handles.shutdown.clone());
        let mut refusals = 0;
        loop {
            beat();
            let (error, refused) = match self.advance(repository, &run).instrument(span.clone()).await {
                Ok(Next::Row(row)) => {
                    self.handles.troubles.ended(Work::Publication);
                    run.row = *row;
                    continue;
                }
                Ok(Next::Ended) => {
                    self.handles.troubles.ended(Work::Publication);
                    self.handles.troubles.ended(Work::Refresh);
                    return Ok(None);
                }
                Ok(Next::Refused(error)) => (error, 1),
                Err(error) if error.is_transient() => (error, 0),
                Err(error) => return Err(error),
            };
            self.handles.troubles.happened(Work::Publication, &error);
            self.refresh(repository, &mut run).instrument(span.clone()).await?;
            refusals += refused;
            if refusals == REFUSALS_MAX || self.makes_way(repository, &run).await {
                return Ok(Some(Stuck { run, refused: Some(error).filter(|_| refusals == REFUSALS_MAX) }));
            }
            if !backoff.wait().await {
                return Ok(None);
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
            Err(error @ (Error::SignerRefused { group, .. } | Error::SignerAnswer { group, .. })) => {
                self.settle(repository, run, todo, group, error).await
            }
            advanced => advanced,
        }
    }

    async fn snapshot(&self, repository: &Arc<Repository>, run: &Run, revision: &Revision) -> Result<Next> {
        let Some(document) = snapshot::sign(&self.handles, repository, run, revision).await? else {
            return self.overtaken(repository, run).await;
        };
        let mut row = LaneRow { snapshot_document: Some(document), ..run.row.clone() };
        if row.timestamp.is_none() {
            row.timestamp = Some(self.next_revision(repository, &RoleName::timestamp())?);
            self.journal_row(Effect::PlanTimestamp, &row).await?;
        }
        Ok(Next::Row(row.into()))
    }

    async fn timestamp(&self, repository: &Arc<Repository>, run: &Run, revision: &Revision) -> Result<Next> {
        let document = timestamp::publish(&self.handles, repository, run, revision).await?;
        let written = finish::published(&self.handles, &self.index, &self.retention, run, document, None).await?;
        self.pace.published(written);
        self.publications.inc();
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
