//! `rstuf.tasks.v1`.

use std::pin::Pin;

use prost::Message as _;
use rstuf_api::{convert::timestamp_message, proto::tasks::v1 as proto, status};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    fields::{page_size, task_id},
    shared::Shared,
};
use crate::{
    Error, Result,
    journal::rows::{TaskKind, TaskRow, TaskState},
    tasks::{Progress, Step, Tasks, is_finished},
};

/// Tasks in a page, unless asked otherwise, and at most.
const TASKS_DEFAULT: usize = 100;
const TASKS_MAX: usize = 1_000;
/// Tasks looked at for one page when only some states are wanted.
const TASKS_SEEN_MAX: usize = 10_000;
/// Results in a page, unless asked otherwise, and at most.
const RESULTS_DEFAULT: usize = 1_000;
const RESULTS_MAX: usize = 10_000;
/// A page of results ends with the one that brings it over so many bytes: gRPC libraries refuse messages above 4 MiB.
const RESULTS_BYTES: usize = 2 * 1024 * 1024;

pub(super) struct Service {
    shared: Shared,
}

impl Service {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn list(&self, request: &proto::ListTasksRequest) -> Result<proto::ListTasksResponse> {
        let size = page_size(request.page_size, TASKS_DEFAULT, TASKS_MAX)?;
        let wanted = request.state();
        let mut after = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse().map_err(|_| Error::field("page_token", "not one of an earlier page"))?),
        };
        let mut tasks = Vec::new();
        let mut seen = 0;
        loop {
            let page = self.shared.handles.tasks.list(after, size)?;
            let last = page.len() < size;
            seen += page.len();
            for (id, row, progress) in page {
                after = Some(id);
                let task = message(id, &row, progress);
                if wanted == proto::TaskState::Unspecified || task.state() == wanted {
                    tasks.push(task);
                }
                if tasks.len() == size {
                    break;
                }
            }
            let full = tasks.len() == size || seen >= TASKS_SEEN_MAX;
            if last || full {
                let next = after.filter(|_| full).map(|id: Uuid| id.to_string());
                return Ok(proto::ListTasksResponse { tasks, next_page_token: next.unwrap_or_default() });
            }
        }
    }

    fn results(&self, request: &proto::ListTaskResultsRequest) -> Result<proto::ListTaskResultsResponse> {
        let id = task_id(&request.id)?;
        let size = page_size(request.page_size, RESULTS_DEFAULT, RESULTS_MAX)?;
        let (mut part, mut skip) = page_position(&request.page_token)?;
        let (row, _) = self.shared.handles.tasks.get(id)?;
        if row.state != TaskState::Done {
            return Err(Error::NoResults { id: id.to_string() });
        }
        let (mut results, mut taken_bytes) = (Vec::new(), 0);
        while part < row.parts {
            let page = self.shared.handles.journal.results(id, part)?;
            for (index, (path, outcome)) in page.into_iter().enumerate().skip(skip) {
                if results.len() == size || taken_bytes > RESULTS_BYTES {
                    return Ok(proto::ListTaskResultsResponse { results, next_page_token: format!("{part}:{index}") });
                }
                let outcome = proto::Outcome::from(outcome).into();
                let result = proto::ChangeResult { path: path.to_string(), outcome };
                taken_bytes += result.encoded_len();
                results.push(result);
            }
            (part, skip) = (part + 1, 0);
        }
        Ok(proto::ListTaskResultsResponse { results, next_page_token: String::new() })
    }
}

fn page_position(token: &str) -> Result<(u32, usize)> {
    if token.is_empty() {
        return Ok((0, 0));
    }
    let position = token.split_once(':').and_then(|(part, skip)| Some((part.parse().ok()?, skip.parse().ok()?)));
    position.ok_or_else(|| Error::field("page_token", "not one of an earlier page"))
}

/// A task as messages hold it, as it stands now.
pub(super) fn task_message(tasks: &Tasks, id: Uuid) -> Result<proto::Task> {
    let (row, progress) = tasks.get(id)?;
    Ok(message(id, &row, progress))
}

fn message(id: Uuid, row: &TaskRow, progress: Option<Progress>) -> proto::Task {
    let kind = match row.kind {
        TaskKind::Submission => proto::TaskKind::Submission,
        TaskKind::Import => proto::TaskKind::Import,
        TaskKind::Publish => proto::TaskKind::Publish,
        TaskKind::Ceremony => proto::TaskKind::Ceremony,
    };
    let progress = progress.filter(|_| !is_finished(row.state));
    let state = match (row.state, progress) {
        (TaskState::Done, _) => proto::TaskState::Done,
        (TaskState::Failed, _) => proto::TaskState::Failed,
        (_, Some(_)) => proto::TaskState::Running,
        (TaskState::Held, None) => proto::TaskState::Held,
        (TaskState::Waiting, None) => proto::TaskState::Waiting,
    };
    let counts = (row.state == TaskState::Done).then_some(proto::Counts {
        added: row.counts.added,
        replaced: row.counts.replaced,
        unchanged: row.counts.unchanged,
        removed: row.counts.removed,
        not_found: row.counts.not_found,
    });
    let error = row.error.clone().map(|error| proto::TaskError { reason: error.reason, message: error.message });
    proto::Task {
        id: id.to_string(),
        kind: kind.into(),
        state: state.into(),
        created_at: Some(timestamp_message(row.created)),
        finished_at: row.finished.map(timestamp_message),
        changes: row.changes,
        progress: progress.map(progress_message),
        publication: row.publication,
        counts,
        error,
        request_id: row.request_id.clone(),
    }
}

fn progress_message(progress: Progress) -> proto::Progress {
    let step = match progress.step {
        Step::Targets => proto::Step::Targets,
        Step::Snapshot => proto::Step::Snapshot,
        Step::Timestamp => proto::Step::Timestamp,
        Step::Publish => proto::Step::Publish,
    };
    proto::Progress { step: step.into(), roles_done: progress.roles_done, roles_total: progress.roles_total }
}

#[tonic::async_trait]
impl proto::task_service_server::TaskService for Service {
    async fn get_task(
        &self,
        request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        let task = task_id(&request.into_inner().id).and_then(|id| task_message(&self.shared.handles.tasks, id));
        let answer = |task| Response::new(proto::GetTaskResponse { task: Some(task) });
        task.map(answer).map_err(status)
    }

    async fn list_tasks(
        &self,
        request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        self.list(request.get_ref()).map(Response::new).map_err(status)
    }

    async fn list_task_results(
        &self,
        request: Request<proto::ListTaskResultsRequest>,
    ) -> Result<Response<proto::ListTaskResultsResponse>, Status> {
        self.results(request.get_ref()).map(Response::new).map_err(status)
    }

    type WatchTaskStream = Pin<Box<dyn Stream<Item = Result<proto::WatchTaskResponse, Status>> + Send>>;

    async fn watch_task(
        &self,
        request: Request<proto::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let id = task_id(&request.into_inner().id).map_err(status)?;
        let changes = self.shared.handles.tasks.watch(id).map_err(status)?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(watch(self.shared.clone(), id, changes, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Sends the task now and after every change. A watcher that is slow misses steps, never the end.
async fn watch(
    shared: Shared,
    id: Uuid,
    mut changes: tokio::sync::watch::Receiver<Option<Progress>>,
    sender: mpsc::Sender<Result<proto::WatchTaskResponse, Status>>,
) {
    loop {
        changes.mark_unchanged();
        let task = task_message(&shared.handles.tasks, id);
        let ended = task
            .as_ref()
            .map_or(true, |task| matches!(task.state(), proto::TaskState::Done | proto::TaskState::Failed));
        let answer = task.map(|task| proto::WatchTaskResponse { task: Some(task) }).map_err(status);
        if sender.send(answer).await.is_err() || ended {
            return;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                // Finished, or waiting again: the next round says which.
                match shared.handles.tasks.watch(id) {
                    Ok(again) => changes = again,
                    Err(error) => {
                        let _ = sender.send(Err(status(error))).await;
                        return;
                    }
                }
            },
            () = sender.closed() => return,
            () = shared.handles.shutdown.wait() => {
                let _ = sender.send(Err(status(Error::Stopping))).await;
                return;
            }
        }
    }
}
