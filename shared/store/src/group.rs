//! Group commit: those that wait at the same time become one batch with one barrier.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::{BATCH_ROWS_MAX, Batch, Error, Result, StateStore, rows::panic_message};

/// A group takes no further commit once it holds this many bytes.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// One commit that waits.
pub(crate) struct Request {
    batch: Batch,
    answer: oneshot::Sender<Result<()>>,
    /// Given back when the request is done.
    _budget: OwnedSemaphorePermit,
}

impl Request {
    pub(crate) fn new(batch: Batch, answer: oneshot::Sender<Result<()>>, budget: OwnedSemaphorePermit) -> Self {
        Self { batch, answer, _budget: budget }
    }
}

/// Tells of the first failure; later ones follow from it.
pub(crate) fn announce(failure: &watch::Sender<Option<Error>>, error: &Error) {
    failure.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert_with(|| error.clone());
        first
    });
}

/// What the thread that commits works with.
pub(crate) struct Groups {
    pub(crate) dir: PathBuf,
    pub(crate) state: Arc<dyn StateStore>,
    pub(crate) receiver: mpsc::Receiver<Request>,
    pub(crate) failure: watch::Sender<Option<Error>>,
}

impl Groups {
    /// Commits until nobody can ask for it any more.
    pub(crate) fn run(mut self) {
        let mut first = self.receiver.blocking_recv();
        while let Some(request) = first {
            let (group, next) = self.gather(request);
            self.commit_group(group);
            first = next.or_else(|| self.receiver.blocking_recv());
        }
    }

    /// Takes what waits behind `first`, and the first request that did not fit.
    fn gather(&mut self, first: Request) -> (Vec<Request>, Option<Request>) {
        let (mut rows, mut size_bytes) = (first.batch.len(), first.batch.size_bytes());
        let mut group = vec![first];
        while let Ok(request) = self.receiver.try_recv() {
            rows += request.batch.len();
            size_bytes += request.batch.size_bytes();
            if rows > BATCH_ROWS_MAX || size_bytes > GROUP_BYTES_MAX {
                return (group, Some(request));
            }
            group.push(request);
        }
        (group, None)
    }

    fn commit_group(&self, group: Vec<Request>) {
        if group.len() > 1 {
            let mut merged = Batch::new();
            for request in &group {
                merged.append(request.batch.clone());
            }
            let result = self.commit(&merged);
            // What is refused without a trace is tried one by one, so that a large batch does not take small ones
            // along.
            if !matches!(result, Err(Error::NoSpace { .. } | Error::Limit { .. })) {
                return group.into_iter().for_each(|request| drop(request.answer.send(result.clone())));
            }
        }
        for Request { batch, answer, _budget } in group {
            let result = self.commit(&batch);
            // Whoever is answered finds nothing left of what was written ahead in vain.
            drop(batch);
            drop(answer.send(result));
        }
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        let known = self.failure.borrow().clone();
        if let Some(error) = known {
            return Err(Error::Failed { dir: self.dir.clone(), reason: error.to_string() });
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.state.commit(batch))).unwrap_or_else(|panic| {
            Err(Error::Failed { dir: self.dir.clone(), reason: format!("panic: {}", panic_message(panic.as_ref())) })
        });
        if let Err(error) = &result
            && !matches!(error, Error::NoSpace { .. } | Error::Limit { .. } | Error::Closed { .. })
        {
            announce(&self.failure, error);
        }
        result
    }
}
