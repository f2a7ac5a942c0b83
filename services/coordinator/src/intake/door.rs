//! The door. One task owns the order of acknowledgement: it takes what waits at the door, journals it with one fsync,
//! puts it into the queue, and only then answers.

use std::sync::Arc;

use jiff::Timestamp;
use rstuf_api::RequestId;
use rstuf_runtime::{liveness::idle, telemetry};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    open::opened,
    queue::{self, Load, PathKey},
    request::{Kind, OfTask, Request, refusal, used},
    state::State,
};
use crate::{
    Error, Result,
    blocking::blocking,
    journal::{
        Entry,
        rows::{Body, RequestRow, Standing, SubmissionRow, TaskKind, TaskRow, TaskState},
    },
    space::INTAKE_LEAVES,
};

/// Requests that may stand at the door; further ones are refused.
pub(super) const DOOR_MAX: usize = 1_024;
/// Requests journalled with one fsync.
const GROUP_MAX: usize = 256;
/// Bytes of changes journalled with one fsync.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where requests wait to be acknowledged. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) knocks: mpsc::Sender<Knock>,
}

/// What stands at the door.
pub(super) enum Knock {
    /// To be acknowledged.
    Request(Box<Request>),
    /// To be dropped.
    Cancel(OfTask),
    /// To be taken out of what is set aside.
    Retry(OfTask),
}

impl Door {
    /// Both sides of it.
    pub(super) fn new(state: Arc<State>, next_seq: u64) -> (Self, IntakeTask) {
        let (sender, receiver) = mpsc::channel(DOOR_MAX);
        (Self { knocks: sender }, IntakeTask { state, knocks: receiver, next_seq })
    }

    /// Waits until the request is acknowledged, or refused.
    pub(super) async fn ask(
        &self,
        task: Uuid,
        kind: Kind,
        paths: Option<Vec<PathKey>>,
        request_id: Option<RequestId>,
        body: Body,
    ) -> Result<Uuid> {
        let (answer, answered) = oneshot::channel();
        let trace = telemetry::current_traceparent();
        self.knock(Knock::Request(Box::new(Request { task, kind, paths, request_id, body, trace, answer })))?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// Waits until what the task has in the queue is dropped, or that is refused.
    pub(super) async fn cancel(&self, task: Uuid) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.knock(Knock::Cancel(OfTask { task, answer }))?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    /// Waits until what the task has set aside waits again, or that is refused.
    pub(super) async fn retry(&self, task: Uuid) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.knock(Knock::Retry(OfTask { task, answer }))?;
        answered.await.map_err(|_| Error::Stopping)?
    }

    fn knock(&self, knock: Knock) -> Result<()> {
        self.knocks.try_send(knock).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Full { what: "requests at the door", max: DOOR_MAX as u64 },
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })
    }
}

/// The task that owns the order of acknowledgement.
pub(crate) struct IntakeTask {
    pub(super) state: Arc<State>,
    knocks: mpsc::Receiver<Knock>,
    pub(super) next_seq: u64,
}

impl IntakeTask {
    /// Acknowledges until the last handle is gone.
    ///
    /// # Errors
    /// [`Error::Store`] when the journal failed: the process must end.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut group = Vec::new();
        while idle(self.knocks.recv_many(&mut group, GROUP_MAX)).await > 0 {
            let (mut requests, mut cancels, mut retries) = (Vec::new(), Vec::new(), Vec::new());
            for knock in group.drain(..) {
                match knock {
                    Knock::Request(request) => requests.push(*request),
                    Knock::Cancel(cancel) => cancels.push(cancel),
                    Knock::Retry(retry) => retries.push(retry),
                }
            }
            let mut rest = requests.into_iter().peekable();
            while rest.peek().is_some() {
                let mut bytes = 0;
                let mut part = Vec::new();
                while bytes < GROUP_BYTES_MAX
                    && let Some(request) = rest.next()
                {
                    bytes += request.bytes();
                    part.push(request);
                }
                self.acknowledge(part).await?;
            }
            self.cancel(cancels).await?;
            self.retry(retries).await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self, group: Vec<Request>) -> Result<()> {
        let state = Arc::clone(&self.state);
        let _request_ids = state.request_ids.lock().await;
        let Ok(journalled) = self.journalled(&group).await else { return Ok(()) };
        let now = self.state.clock.now();
        let mut entry = Entry::new();
        entry.leave(INTAKE_LEAVES);
        let mut accepted: Vec<(u64, Request)> = Vec::new();
        // Sent twice at the same time: answered with the first, when that is journalled.
        let mut again = Vec::new();
        for (request, journalled) in group.into_iter().zip(journalled) {
            match self.known(&request, journalled, &accepted, now) {
                Ok(None) => {}
                Ok(Some(Earlier::Journalled(task))) => {
                    answer(request.answer, Ok(task));
                    continue;
                }
                Ok(Some(Earlier::InGroup(task))) => {
                    again.push((request.answer, task));
                    continue;
                }
                Err(error) => {
                    answer(request.answer, Err(error));
                    continue;
                }
            }
            if let Err(error) = self.admit(&request, &accepted) {
                answer(request.answer, Err(error));
                continue;
            }
            self.next_seq += 1;
            self.write(&mut entry, self.next_seq, &request, now);
            accepted.push((self.next_seq, request));
        }
        if let Err(error) = self.state.commit(entry).await {
            let fatal = !error.is_transient();
            for (_, request) in accepted {
                answer(request.answer, Err(refusal(&error)));
            }
            again.into_iter().for_each(|(sender, _)| answer(sender, Err(refusal(&error))));
            return if fatal { Err(error) } else { Ok(()) };
        }
        self.enqueue(accepted).await?;
        again.into_iter().for_each(|(sender, task)| answer(sender, Ok(task)));
        Ok(())
    }

    /// Whether there is room for it, behind those of the group.
    fn admit(&self, request: &Request, group: &[(u64, Request)]) -> Result<()> {
        let sum = |hold: bool| {
            let loads = group.iter().map(|(_, request)| request).filter(|request| request.is_held() == hold);
            loads.map(Request::load).fold(Load::default(), Load::plus)
        };
        let (more, hold, held, queue) = (request.load(), request.is_held(), sum(true), self.state.queue());
        queue.admit(more, hold, sum(false), held)?;
        if hold || matches!(request.kind, Kind::Publish) {
            return Ok(());
        }
        queue.admit_along(more, request.paths.as_deref(), held)
    }

    /// The task that a request was answered with before, or will be within this group. That of an open import is nobody
    /// else's.
    fn known(
        &self,
        request: &Request,
        journalled: Result<Option<(RequestRow, TaskKind)>>,
        group: &[(u64, Request)],
        now: Timestamp,
    ) -> Result<Option<Earlier>> {
        let Some(id) = &request.request_id else { return Ok(None) };
        let earlier = group.iter().find(|(_, other)| other.request_id.as_ref() == Some(id));
        let (row, kind, known): (_, _, fn(Uuid) -> Earlier) = match (earlier, journalled?) {
            (Some((_, other)), _) => {
                (RequestRow { task: other.task, body: other.body }, other.task_kind(), Earlier::InGroup)
            }
            (None, Some((row, kind))) => (row, kind, Earlier::Journalled),
            (None, None) => {
                let other = self.state.open.find(id, now).filter(|(import, _)| *import != request.task);
                return other.map_or(Ok(None), |(import, _)| Err(opened(id, import)));
            }
        };
        if row.body == request.body { Ok(Some(known(row.task))) } else { Err(used(id, &row, kind)) }
    }

    /// What the journal says of the request ids of a group, one after the other.
    async fn journalled(&self, group: &[Request]) -> Result<Vec<Result<Option<(RequestRow, TaskKind)>>>> {
        let ids: Vec<Option<RequestId>> = group.iter().map(|request| request.request_id.clone()).collect();
        if ids.iter().all(Option::is_none) {
            return Ok(ids.iter().map(|_| Ok(None)).collect());
        }
        let journal = self.state.journal.clone();
        let look_up = move |id: &Option<RequestId>| id.as_ref().map_or(Ok(None), |id| journal.used(id.as_str()));
        blocking(move || Ok(ids.iter().map(look_up).collect())).await
    }

    fn write(&self, entry: &mut Entry, seq: u64, request: &Request, now: Timestamp) {
        let (hold, Load { changes, bytes, .. }) = (request.is_held(), request.load());
        let parts = match &request.kind {
            Kind::Submission { part, .. } => {
                entry.put_part(request.task, 0, part.clone());
                1
            }
            Kind::Import { row } => {
                entry.delete_import(request.task);
                row.parts
            }
            Kind::Publish => 0,
        };
        let kind = request.task_kind();
        if kind == TaskKind::Publish {
            entry.put_publish(seq, request.task);
        } else {
            let trace = request.trace.clone();
            let (task, standing) = (request.task, Standing::Trusted);
            entry.put_submission(seq, &SubmissionRow { task, parts, changes, bytes, hold, standing, trace });
        }
        let state = if hold { TaskState::Held } else { TaskState::Waiting };
        let request_id = request.request_id.as_ref().map(ToString::to_string).unwrap_or_default();
        entry.put_task(request.task, &TaskRow { state, changes, parts, request_id, ..TaskRow::new(kind, now) });
        if let Some(id) = &request.request_id {
            entry.put_request(id.as_str(), &RequestRow { task: request.task, body: request.body });
        }
    }

    async fn enqueue(&self, accepted: Vec<(u64, Request)>) -> Result<()> {
        let mut asks_for_paths = self.state.queue().asks_for_paths();
        let mut answers = Vec::new();
        for (seq, request) in accepted {
            let (task, hold, Load { changes, bytes, .. }) = (request.task, request.is_held(), request.load());
            asks_for_paths |= hold;
            let parts = match request.kind {
                Kind::Publish => {
                    self.state.queue().publish(seq, task);
                    answers.push((request.answer, task));
                    continue;
                }
                Kind::Submission { .. } => 1,
                Kind::Import { row } => row.parts,
            };
            let paths = match request.paths {
                Some(paths) if asks_for_paths => paths,
                None if asks_for_paths => self.state.stored_paths(task, parts).await?,
                _ => Vec::new(),
            };
            self.state.queue().add(queue::Entry {
                seq,
                task,
                changes,
                bytes,
                hold,
                standing: Standing::Trusted,
                paths,
            });
            answers.push((request.answer, task));
        }
        self.state.measure(&self.state.queue());
        self.state.waiting.notify_one();
        answers.into_iter().for_each(|(sender, task)| answer(sender, Ok(task)));
        Ok(())
    }
}

/// The same request, which came before.
enum Earlier {
    /// It was acknowledged.
    Journalled(Uuid),
    /// It is about to be.
    InGroup(Uuid),
}

/// A caller that went away can ask for its task by request id.
fn answer(sender: oneshot::Sender<Result<Uuid>>, result: Result<Uuid>) {
    let _ = sender.send(result);
}
