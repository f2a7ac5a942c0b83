//! Cancelling what is held or waits. The task that owns the order of acknowledgement does it, so nothing is on its way into
//! the queue meanwhile.

use uuid::Uuid;

use super::{
    door::IntakeTask,
    queue::Place,
    request::{Cancel, refusal},
};
use crate::{
    Error, Result,
    journal::{
        Entry,
        rows::{TaskRow, TaskState},
    },
    tasks::{Ending, is_finished},
};

impl IntakeTask {
    /// Answers once it is durable.
    ///
    /// # Errors
    /// [`Error::Store`] when the journal failed: the process must end.
    pub(super) async fn cancel(&self, Cancel { task, answer }: Cancel) -> Result<()> {
        let row = self.state.journal.task(task)?;
        let place = self.state.queue().freeze(task);
        let (Some(row), Some(place)) = (&row, place) else {
            let _ = answer.send(outside(task, row.as_ref()));
            return Ok(());
        };
        let committed = self.state.journal.commit(self.removal(task, row, place)?).await;
        self.state.queue().thaw(committed.is_ok().then_some(place));
        self.state.measure(&self.state.queue());
        // Whoever came for a batch meanwhile went away with nothing.
        self.state.waiting.notify_one();
        match committed {
            Ok(()) => {
                if matches!(place, Place::Submission(_)) {
                    self.state.tasks.count_ended(Ending::Cancelled, 1);
                }
                self.state.tasks.settled(&[task]);
                let _ = answer.send(Ok(()));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%task, error = &error as &dyn std::error::Error, "a cancellation could not be journalled");
                let _ = answer.send(Err(refusal(&error)));
                if error.is_transient() { Ok(()) } else { Err(error) }
            }
        }
    }

    fn removal(&self, task: Uuid, row: &TaskRow, place: Place) -> Result<Entry> {
        let mut entry = Entry::new();
        match place {
            Place::Submission(seq) => entry.delete_submission(seq, &self.state.journal.submission(seq)?),
            Place::Publish(seq) => entry.delete_publish(seq),
        }
        let now = self.state.clock.now();
        entry.put_task(task, &TaskRow { state: TaskState::Cancelled, finished: Some(now), ..row.clone() });
        Ok(entry)
    }
}

/// What is said of a task that has nothing in the queue.
fn outside(task: Uuid, row: Option<&TaskRow>) -> Result<()> {
    let id = task.to_string();
    match row {
        None => Err(Error::NoTask { id }),
        Some(row) if row.state == TaskState::Cancelled => Ok(()),
        Some(row) if is_finished(row.state) => Err(Error::TaskFinished { id }),
        Some(_) => Err(Error::TaskRunning { id }),
    }
}
