//! Cancelling what is held, waits or is set aside. The task that owns the order of acknowledgement does it, so nothing
//! is on its way into the queue meanwhile.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    door::IntakeTask,
    queue::Place,
    request::{OfTask, refusal},
};
use crate::{
    Error, Result,
    blocking::blocking,
    effects::Effect,
    journal::{
        Entry,
        rows::{TaskRow, TaskState},
    },
    tasks::Ending,
};

/// Rows deleted with one fsync; the last task of a group may bring it over.
const GROUP_ROWS_MAX: usize = 10_000;

/// Tasks that are cancelled with one fsync.
#[derive(Default)]
struct Group {
    entry: Entry,
    /// What they have in the queue, which is frozen until it is removed.
    places: BTreeMap<Uuid, Place>,
    answers: Vec<oneshot::Sender<Result<()>>>,
}

impl IntakeTask {
    /// Answers each once it is durable.
    ///
    /// # Errors
    /// [`Error::Store`] when the journal failed: the process must end.
    pub(super) async fn cancel(&self, cancels: Vec<OfTask>) -> Result<()> {
        let mut cancels = cancels.into_iter().peekable();
        while cancels.peek().is_some() {
            let mut group = Group::default();
            while group.entry.rows() < GROUP_ROWS_MAX
                && let Some(cancel) = cancels.next()
            {
                self.gather(&mut group, cancel).await?;
            }
            self.remove(group).await?;
        }
        Ok(())
    }

    async fn gather(&self, group: &mut Group, OfTask { task, answer }: OfTask) -> Result<()> {
        let journal = self.state.journal.clone();
        let row = blocking(move || journal.task(task)).await?;
        let place = self.state.queue().freeze(task);
        let (Some(row), Some(place)) = (&row, place) else {
            let _ = answer.send(outside(task, row.as_ref()));
            return Ok(());
        };
        let state = match place {
            // Its error stays: that is why nothing of it took effect.
            Place::SetAside(_) => TaskState::Failed,
            Place::Submission(_) | Place::Publish(_) => TaskState::Cancelled,
        };
        match place {
            Place::Submission(seq) | Place::SetAside(seq) => {
                let journal = self.state.journal.clone();
                let submission = blocking(move || journal.submission(seq)).await?;
                group.entry.delete_submission(seq, &submission);
            }
            Place::Publish(seq) => group.entry.delete_publish(seq),
        }
        group.entry.put_task(task, &TaskRow { state, finished: Some(self.state.clock.now()), ..row.clone() });
        group.places.insert(task, place);
        group.answers.push(answer);
        Ok(())
    }

    async fn remove(&self, Group { entry, places, answers }: Group) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let committed = self.state.effects.run(Effect::Cancel, self.state.commit(entry)).await;
        let removed = committed.is_ok().then(|| places.values().copied());
        self.state.queue().thaw(removed.into_iter().flatten());
        self.state.measure(&self.state.queue());
        // Whoever came for a batch meanwhile went away with nothing.
        self.state.waiting.notify_one();
        match committed {
            Ok(()) => {
                let count = |is_it: fn(&&Place) -> bool| places.values().filter(is_it).count();
                let cancelled = count(|place| matches!(place, Place::Submission(_)));
                self.state.tasks.count_ended(Ending::Cancelled, cancelled);
                self.state.tasks.count_ended(Ending::Failed, count(|place| matches!(place, Place::SetAside(_))));
                self.state.tasks.settled(&places.into_keys().collect::<Vec<_>>());
                answers.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
                Ok(())
            }
            Err(error) => {
                answers.into_iter().for_each(|answer| drop(answer.send(Err(refusal(&error)))));
                if error.is_transient() { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// What is said of a task that has nothing in the queue.
fn outside(task: Uuid, row: Option<&TaskRow>) -> Result<()> {
    let id = task.to_string();
    match row {
        None => Err(Error::NoTask { id }),
        Some(row) if row.state == TaskState::Cancelled => Ok(()),
        Some(row) if row.is_finished() => Err(Error::TaskFinished { id }),
        Some(_) => Err(Error::TaskRunning { id }),
    }
}
