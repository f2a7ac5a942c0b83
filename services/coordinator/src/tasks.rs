//! Tasks: what became of each request. Their rows stand in the journal; here is who watches them, and where a running
//! one is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;
use rstuf_api::RequestId;
use rstuf_runtime::{By, Metrics, names};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Error, Result,
    journal::{
        Journal,
        rows::{BatchRow, TaskRow},
    },
};

/// Where a running task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The step of its publication.
    pub step: Step,
    /// Roles handled in this step so far.
    pub roles_done: u32,
    /// Of so many.
    pub roles_total: u32,
    /// Roles that a signer was asked for, where it is asked for several.
    pub roles_sent: u32,
}

impl Progress {
    /// Of a batch whose targets are to be signed, or are.
    pub(crate) fn of(batch: &BatchRow) -> Self {
        let roles_total = u32::try_from(batch.roles.len()).unwrap_or(u32::MAX);
        let roles_done = if batch.signed.is_some() { roles_total } else { 0 };
        Self { step: Step::Targets, roles_done, roles_total, roles_sent: roles_done }
    }
}

/// What watchers see of the steps of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The targets signer applies the changes.
    Targets,
    /// The snapshot signer verifies them.
    Snapshot,
    /// The timestamp signer verifies the snapshot.
    Timestamp,
    /// Clients are about to see it.
    Publish,
}

/// How submissions end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Clients see them.
    Done,
    /// Nothing of them took effect.
    Failed,
    /// Nothing of them took effect, as somebody asked.
    Cancelled,
}

impl Ending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The tasks of this coordinator. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tasks {
    journal: Journal,
    /// One entry for each unfinished task that runs or is watched: `None` while it waits.
    live: Arc<Mutex<HashMap<Uuid, watch::Sender<Option<Progress>>>>>,
    ended: By<Counter>,
}

impl Tasks {
    /// Over a journal.
    pub(crate) fn new(journal: Journal, metrics: &Metrics) -> Self {
        let ended = metrics.counter_by(names::SUBMISSIONS, "submissions and imports that ended", "result");
        Self { journal, live: Arc::default(), ended }
    }

    /// Counts submissions that ended.
    pub(crate) fn count_ended(&self, ending: Ending, submissions: usize) {
        self.ended.with(ending.as_str()).inc_by(submissions as u64);
    }

    /// A task as it stands now, if it is not finished; `Some` progress while it runs.
    pub(crate) fn unfinished(&self, id: Uuid) -> Option<(TaskRow, Option<Progress>)> {
        let row = self.journal.unfinished(id)?;
        Some((row, self.lock().get(&id).and_then(|sender| *sender.borrow())))
    }

    /// A task as it stands now; `Some` progress while it runs. Blocks, unless it is not finished.
    ///
    /// # Errors
    /// [`Error::NoTask`].
    pub(crate) fn get(&self, id: Uuid) -> Result<(TaskRow, Option<Progress>)> {
        let row = self.journal.task(id)?.ok_or_else(|| Error::NoTask { id: id.to_string() })?;
        let progress = self.lock().get(&id).and_then(|sender| *sender.borrow());
        Ok((row, progress))
    }

    /// The task that a request with this id was answered with. Blocks.
    ///
    /// # Errors
    /// [`Error::NoRequest`].
    pub(crate) fn of_request(&self, id: &RequestId) -> Result<Uuid> {
        let row = self.journal.request(id.as_str())?;
        row.map(|row| row.task).ok_or_else(|| Error::NoRequest { request_id: id.to_string() })
    }

    /// Tasks, newest first. Blocks.
    pub(crate) fn list(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<(Uuid, TaskRow, Option<Progress>)>> {
        let rows = self.journal.tasks(after, limit)?;
        let live = self.lock();
        let progress = |id: &Uuid| live.get(id).and_then(|sender| *sender.borrow());
        Ok(rows.into_iter().map(|(id, row)| (id, row, progress(&id))).collect())
    }

    /// Told of every change of the task; ended when the task is finished, or was.
    pub(crate) fn watch(&self, id: Uuid) -> watch::Receiver<Option<Progress>> {
        let mut live = self.lock();
        if self.journal.unfinished(id).is_none() {
            // Nobody holds the sender: the receiver reads as ended at once.
            return watch::channel(None).1;
        }
        live.entry(id).or_insert_with(|| watch::channel(None).0).subscribe()
    }

    /// Says where running tasks are.
    pub(crate) fn progress(&self, tasks: &[Uuid], progress: Progress) {
        let mut live = self.lock();
        for id in tasks {
            live.entry(*id).or_insert_with(|| watch::channel(None).0).send_replace(Some(progress));
        }
    }

    /// Says that tasks are finished, or wait again: their rows must be journalled by now. Watchers look again.
    pub(crate) fn settled(&self, tasks: &[Uuid]) {
        let mut live = self.lock();
        for id in tasks {
            live.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<Option<Progress>>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
