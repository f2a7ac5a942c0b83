//! What both sides of the door see: the queue, and what a new request needs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use rstuf_runtime::Clock;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    load::stored_paths,
    open::Open,
    queue::{Load, PathKey, Queue},
};
use crate::{
    Result,
    blocking::blocking,
    effects::Effects,
    ids::Ids,
    journal::{Entry, Journal},
    published::Published,
    tasks::Tasks,
    troubles::{Troubles, Work},
};

/// One for each intake.
pub(super) struct State {
    pub(super) journal: Journal,
    pub(super) published: Published,
    pub(super) tasks: Tasks,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) queue: Mutex<Queue>,
    /// The open imports.
    pub(super) open: Open,
    /// Whoever gives a request id to a task or to an import has them, from looking the id up until that is journalled.
    pub(super) request_ids: tokio::sync::Mutex<()>,
    /// Something was added to the queue.
    pub(super) waiting: Notify,
    pub(super) depth: Gauge,
    pub(super) effects: Effects,
    pub(super) troubles: Troubles,
}

impl State {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id made now.
    pub(super) fn next_id(&self) -> Uuid {
        self.ids.next(self.clock.now())
    }

    /// Makes the entry durable. That there is no space for it is a trouble, until whoever watches the disk finds some.
    pub(super) async fn commit(&self, entry: Entry) -> Result<()> {
        let committed = self.journal.commit(entry).await;
        if let Err(error) = committed.as_ref()
            && error.is_no_space()
        {
            self.troubles.happened(Work::Intake, error);
        }
        committed
    }

    /// The checks that a request must pass before it is worked on; at the door they are made again.
    pub(super) fn admit(&self, load: Load, hold: bool) -> Result<()> {
        self.published.require_repository()?;
        self.queue().admit(load, hold, Load::default(), Load::default())
    }

    /// The keys of all paths of a submission that is journalled, in so many parts.
    pub(super) async fn stored_paths(&self, task: Uuid, parts: u32) -> Result<Vec<PathKey>> {
        let journal = self.journal.clone();
        blocking(move || stored_paths(&journal, task, parts)).await
    }

    /// Says how long the queue is.
    pub(super) fn measure(&self, queue: &Queue) {
        self.depth.set(i64::try_from(queue.waiting()).unwrap_or(i64::MAX));
    }
}
