//! Retrying what is set aside. The task that owns the order of acknowledgement does it: what is retried counts as
//! acknowledged now, because what came after it went on without it.

use super::{
    door::IntakeTask,
    queue,
    request::{OfTask, refusal},
};
use crate::{
    Error, Result,
    blocking::blocking,
    effects::Effect,
    journal::{
        Entry,
        rows::{Standing, SubmissionRow, TaskRow, TaskState},
    },
};

impl IntakeTask {
    /// Answers each once it is durable: a person asks, so one after the other is fast enough.
    ///
    /// # Errors
    /// [`Error::Store`] when the journal failed: the process must end.
    pub(super) async fn retry(&mut self, retries: Vec<OfTask>) -> Result<()> {
        for OfTask { task, answer } in retries {
            let retried = self.retry_one(task).await;
            let fatal =
                retried.as_ref().err().is_some_and(|error| matches!(error, Error::Store(_) | Error::Stopped { .. }));
            match retried {
                Err(error) if fatal => {
                    let _ = answer.send(Err(refusal(&error)));
                    return Err(error);
                }
                retried => drop(answer.send(retried)),
            }
        }
        Ok(())
    }

    async fn retry_one(&mut self, task: uuid::Uuid) -> Result<()> {
        let id = || task.to_string();
        let journal = self.state.journal.clone();
        let row = blocking(move || journal.task(task)).await?.ok_or_else(|| Error::NoTask { id: id() })?;
        let found = self.state.queue().set_aside.find(task).cloned();
        let found = match (found, row.state) {
            (Some(found), _) => found,
            // It was retried, and whoever asks again may not have been answered.
            (None, TaskState::Waiting) => return Ok(()),
            (None, _) => return Err(Error::TaskNotSetAside { id: id() }),
        };
        self.state.queue().admit_retried(&found)?;
        let (journal, seq) = (self.state.journal.clone(), found.seq);
        let submission = blocking(move || journal.submission(seq)).await?;
        // Alone: it need not hold up others once more.
        let standing = Standing::Suspect(1);
        self.next_seq += 1;
        let seq = self.next_seq;
        let mut entry = Entry::new();
        entry.move_submission(found.seq, seq, &SubmissionRow { standing, ..submission.clone() });
        entry.put_task(task, &TaskRow { state: TaskState::Waiting, error: None, ..row });
        let committed = self.state.effects.run(Effect::Retry, self.state.commit(entry)).await;
        match committed {
            Err(error) if error.is_transient() => return Err(refusal(&error)),
            committed => committed?,
        }
        // What is held now was acknowledged before it, and has to be taken along where they share a path.
        let asks_for_paths = self.state.queue().asks_for_paths();
        let paths = if asks_for_paths { self.state.stored_paths(task, submission.parts).await? } else { Vec::new() };
        let mut queue = self.state.queue();
        queue.set_aside.take(found.seq);
        queue.add(queue::Entry { seq, standing, paths, ..found });
        self.state.measure(&queue);
        drop(queue);
        self.state.waiting.notify_one();
        self.state.tasks.settled(&[task]);
        Ok(())
    }
}
