//! Acknowledging requests: journalled with one fsync, put into the queue, and only then answered.

mod cancel;
mod door;
mod import;
mod imports;
mod load;
mod open;
pub(crate) mod queue;
mod request;
mod retry;
mod state;

use std::sync::{Arc, Mutex, MutexGuard};

use rstuf_api::{RequestId, digest};
use rstuf_runtime::{Metrics, names};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{Result, handles::Handles, journal::rows::Body, tasks::Progress};
use door::Door;
pub(crate) use door::IntakeTask;
pub(crate) use import::Import;
use imports::Imports;
pub(crate) use imports::OpenImport;
use open::Open;
use queue::{Load, Queue, Selection};
pub(crate) use request::Submission;
use request::{Kind, submission_load};
use state::State;

/// What other parts of the coordinator see of the intake. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    state: Arc<State>,
    door: Door,
    imports: Imports,
}

impl Intake {
    /// Loads what was acknowledged before, without what the batch under way carries already.
    ///
    /// # Errors
    /// [`crate::Error::Store`], [`crate::Error::Journal`].
    pub(crate) async fn load(handles: &Handles, metrics: &Metrics) -> Result<(Self, IntakeTask)> {
        let Handles { journal, published, tasks, steady: clock, ids, effects, troubles, .. } = handles.clone();
        let batch = journal.batch()?;
        let (queue, next_seq) = load::queue(&journal, batch.as_ref())?;
        if let Some(batch) = &batch {
            tasks.progress(&load::under_way(&journal, batch)?, Progress::of(batch));
        }
        let imports = load::imports(&journal).await?;
        load::delete_orphans(&journal, &imports).await?;
        let depth = metrics.gauge(names::QUEUE_DEPTH, "submissions that wait for a batch");
        depth.set(i64::try_from(queue.waiting()).unwrap_or(i64::MAX));
        let state = Arc::new(State {
            journal,
            published,
            tasks,
            clock,
            ids,
            queue: Mutex::new(queue),
            open: Open::new(imports),
            request_ids: tokio::sync::Mutex::default(),
            waiting: Notify::new(),
            depth,
            effects,
            troubles,
        });
        let (door, task) = Door::new(state.clone(), next_seq);
        let imports = Imports::new(state.clone(), door.clone());
        Ok((Self { state, door, imports }, task))
    }

    /// Acknowledges one submission.
    ///
    /// # Errors
    /// [`crate::Error::NoCeremony`], [`crate::Error::Starting`], [`crate::Error::Full`], [`crate::Error::DiskFull`],
    /// [`crate::Error::RequestIdUsed`], [`crate::Error::RequestIdOpen`]; nothing changed then.
    pub(crate) async fn submit(
        &self,
        request_id: Option<RequestId>,
        submission: Submission,
        hold: bool,
    ) -> Result<Uuid> {
        let Submission { part, digest, paths } = submission;
        self.state.admit(submission_load(&part), hold)?;
        let body = Body { digest, hold };
        self.door.ask(self.state.next_id(), Kind::Submission { part, hold }, paths, request_id, body).await
    }

    /// Asks for the publication of everything that is held.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub(crate) async fn publish(&self, request_id: Option<RequestId>) -> Result<Uuid> {
        self.state.admit(Load { submissions: 1, ..Load::default() }, false)?;
        let body = Body { digest: digest::OF_NOTHING, hold: false };
        self.door.ask(self.state.next_id(), Kind::Publish, None, request_id, body).await
    }

    /// Drops a submission, an import or a publish request that is in no batch. That it was cancelled already is no
    /// error.
    ///
    /// # Errors
    /// [`crate::Error::NoTask`], [`crate::Error::TaskRunning`], [`crate::Error::TaskFinished`], [`crate::Error::Full`],
    /// [`crate::Error::DiskFull`]; nothing changed then.
    pub(crate) async fn cancel(&self, task: Uuid) -> Result<()> {
        self.door.cancel(task).await
    }

    /// Puts what a task has set aside back into the queue, as if it was acknowledged now. That it waits already, or is
    /// under way, is no error.
    ///
    /// # Errors
    /// [`crate::Error::NoTask`], [`crate::Error::TaskNotSetAside`], [`crate::Error::Full`], [`crate::Error::DiskFull`];
    /// nothing changed then.
    pub(crate) async fn retry(&self, task: Uuid) -> Result<()> {
        self.door.retry(task).await
    }

    /// Opens an import that is streamed in one call.
    ///
    /// # Errors
    /// As [`Imports::create`].
    pub(crate) async fn import(&self, request_id: Option<RequestId>, hold: bool) -> Result<Import> {
        Import::open(self.imports.clone(), request_id, hold).await
    }

    /// Imports that are appended to by calls of their own.
    pub(crate) fn imports(&self) -> &Imports {
        &self.imports
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.state.queue()
    }

    /// Counts what is held and what is set aside now, without keeping the door open: the intake ends when its last
    /// handle is gone.
    pub(crate) fn kept(&self) -> impl Fn() -> (usize, usize) + Send + Sync + use<> {
        let state = Arc::clone(&self.state);
        move || {
            let queue = state.queue();
            (queue.held(), queue.set_aside.len())
        }
    }

    /// Takes the next batch out.
    pub(crate) fn take(&self) -> Selection {
        let mut queue = self.queue();
        let selection = queue.take();
        self.state.measure(&queue);
        selection
    }

    /// Puts back what was taken.
    pub(crate) fn put_back(&self, selection: Selection) {
        let mut queue = self.queue();
        queue.put_back(selection);
        self.state.measure(&queue);
        drop(queue);
        self.state.waiting.notify_one();
    }

    /// Keeps a submission of the batch that was taken last until somebody retries or cancels it.
    pub(crate) fn put_aside(&self, entry: queue::Entry) {
        self.queue().set_aside.put(entry);
    }

    /// Waits until something was added to the queue since the last call.
    pub(crate) async fn added(&self) {
        self.state.waiting.notified().await;
    }
}

#[cfg(test)]
mod tests;
