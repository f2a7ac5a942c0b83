//! `rstuf.tasks.v1`.

use std::pin::Pin;

use rstuf_api::{
    RequestId,
    convert::{timestamp_message, violation},
    page::{Page, Sizes},
    proto::tasks::v1::{self as proto, get_task_request::Key},
    status,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    fields::task_id,
    repeating::repeating,
    shared::Shared,
    task_pages,
    watchers::{WATCHERS_MAX, Watchers},
};
use crate::{
    Error, Result,
    blocking::blocking,
    handles::Handles,
    journal::rows::{TaskKind, TaskRow, TaskState},
    tasks::{Progress, Step, Tasks},
};

/// Tasks in a page, unless asked otherwise, and at most.
const SIZES: Sizes = Sizes { default: 100, max: 1_000 };
/// Tasks looked at for one page when only some states are wanted.
const TASKS_SEEN_MAX: usize = 10_000;

type WatchTaskStream = Pin<Box<dyn Stream<Item = Result<proto::WatchTaskResponse, Status>> + Send>>;

pub(super) struct Service {
    shared: Shared,
    watchers: Watchers,
}

impl Service {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, watchers: Watchers::default() }
    }

    /// Answers a list out of the journal: much is read and decoded for it.
    async fn read<Q: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<Q>,
        list: impl FnOnce(&Handles, &Q) -> Result<A> + Send + 'static,
    ) -> Result<Response<A>, Status> {
        let (handles, request) = (self.shared.handles.clone(), request.into_inner());
        blocking(move || list(&handles, &request)).await.map(Response::new).map_err(status)
    }

    async fn get(&self, request: proto::GetTaskRequest) -> Result<proto::Task> {
        let tasks = &self.shared.handles.tasks;
        let id = match request.key {
            Some(Key::Id(id)) => task_id(&id)?,
            Some(Key::RequestId(id)) => {
                let (tasks, id) = (tasks.clone(), id.parse::<RequestId>().map_err(violation("request_id"))?);
                blocking(move || tasks.of_request(&id)).await?
            }
            None => return Err(Error::field("key", "nothing set, allowed are id and request_id")),
        };
        task_message(tasks, id).await
    }

    async fn watch(&self, request: &proto::WatchTaskRequest) -> Result<WatchTaskStream> {
        let id = task_id(&request.id)?;
        task_message(&self.shared.handles.tasks, id).await?;
        let changes = self.shared.handles.tasks.watch(id);
        let (sender, receiver) = mpsc::channel(2);
        // Kept for the last word, also to a watcher that reads nothing.
        let last = sender.clone().try_reserve_owned().map_err(|_| Error::Stopping)?;
        let (shared, mut place) = (self.shared.clone(), self.watchers.enter());
        let watching = async move {
            tokio::select! {
                () = watch(shared, id, changes, sender) => {}
                () = place.lost() => {
                    let full = Error::Full { what: "watched tasks", max: WATCHERS_MAX as u64 };
                    last.send(Err(status(full)));
                }
            }
        };
        tokio::spawn(watching.in_current_span());
        Ok(Box::pin(repeating(ReceiverStream::new(receiver))))
    }

    async fn cancel(&self, request: proto::CancelTaskRequest) -> Result<proto::Task> {
        let id = task_id(&request.id)?;
        self.shared.intake.cancel(id).await?;
        task_message(&self.shared.handles.tasks, id).await
    }

    async fn retry(&self, request: proto::RetryTaskRequest) -> Result<proto::Task> {
        let id = task_id(&request.id)?;
        self.shared.intake.retry(id).await?;
        task_message(&self.shared.handles.tasks, id).await
    }
}

/// Tasks, newest first. Blocks.
fn list(tasks: &Tasks, request: &proto::ListTasksRequest) -> Result<proto::ListTasksResponse> {
    let wanted = state(request.state)?;
    let page = Page::read(SIZES, request.page_size, &request.page_token, &["tasks", wanted.as_str_name()])?;
    let size = page.size();
    let mut after = page.cursor(|text| text.parse().ok())?;
    let mut listed = Vec::new();
    let mut seen = 0;
    loop {
        let rows = tasks.list(after, size)?;
        let last = rows.len() < size;
        seen += rows.len();
        for (id, row, progress) in rows {
            after = Some(id);
            let task = message(id, &row, progress);
            if wanted == proto::TaskState::Unspecified || task.state() == wanted {
                listed.push(task);
            }
            if listed.len() == size {
                break;
            }
        }
        let full = listed.len() == size || seen >= TASKS_SEEN_MAX;
        if last || full {
            let next = after.filter(|_| full).map(|id: Uuid| page.token(&id.to_string()));
            return Ok(proto::ListTasksResponse { tasks: listed, next_page_token: next.unwrap_or_default() });
        }
    }
}

/// The state that a request names; none for all.
fn state(number: i32) -> Result<proto::TaskState> {
    let last = proto::TaskState::SetAside;
    let allowed = || format!("{number}, allowed are 0 for all, and 1 to {} ({})", last as i32, last.as_str_name());
    proto::TaskState::try_from(number).map_err(|_| Error::field("state", allowed()))
}

/// A task as messages hold it, as it stands now.
pub(super) async fn task_message(tasks: &Tasks, id: Uuid) -> Result<proto::Task> {
    let (row, progress) = match tasks.unfinished(id) {
        Some(task) => task,
        None => {
            let tasks = tasks.clone();
            blocking(move || tasks.get(id)).await?
        }
    };
    Ok(message(id, &row, progress))
}

fn message(id: Uuid, row: &TaskRow, progress: Option<Progress>) -> proto::Task {
    let kind = match row.kind {
        TaskKind::Submission => proto::TaskKind::Submission,
        TaskKind::Import => proto::TaskKind::Import,
        TaskKind::Publish => proto::TaskKind::Publish,
        TaskKind::Ceremony => proto::TaskKind::Ceremony,
    };
    let progress = progress.filter(|_| !row.is_finished());
    let state = match (row.state, progress) {
        (TaskState::Done, _) => proto::TaskState::Done,
        (TaskState::Failed, _) => proto::TaskState::Failed,
        (TaskState::Cancelled, _) => proto::TaskState::Cancelled,
        (_, Some(_)) => proto::TaskState::Running,
        (TaskState::Held, None) => proto::TaskState::Held,
        (TaskState::Waiting, None) => proto::TaskState::Waiting,
        (TaskState::SetAside, None) => proto::TaskState::SetAside,
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
    let Progress { roles_done, roles_total, roles_sent, .. } = progress;
    proto::Progress { step: step.into(), roles_done, roles_total, roles_sent }
}

#[tonic::async_trait]
impl proto::task_service_server::TaskService for Service {
    async fn get_task(
        &self,
        request: Request<proto::GetTaskRequest>,
    ) -> Result<Response<proto::GetTaskResponse>, Status> {
        let answer = |task| Response::new(proto::GetTaskResponse { task: Some(task) });
        self.get(request.into_inner()).await.map(answer).map_err(status)
    }

    async fn list_tasks(
        &self,
        request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        self.read(request, |handles, request| list(&handles.tasks, request)).await
    }

    async fn list_task_results(
        &self,
        request: Request<proto::ListTaskResultsRequest>,
    ) -> Result<Response<proto::ListTaskResultsResponse>, Status> {
        self.read(request, task_pages::results).await
    }

    async fn list_task_changes(
        &self,
        request: Request<proto::ListTaskChangesRequest>,
    ) -> Result<Response<proto::ListTaskChangesResponse>, Status> {
        self.read(request, task_pages::changes).await
    }

    async fn cancel_task(
        &self,
        request: Request<proto::CancelTaskRequest>,
    ) -> Result<Response<proto::CancelTaskResponse>, Status> {
        let answer = |task| Response::new(proto::CancelTaskResponse { task: Some(task) });
        self.cancel(request.into_inner()).await.map(answer).map_err(status)
    }

    async fn retry_task(
        &self,
        request: Request<proto::RetryTaskRequest>,
    ) -> Result<Response<proto::RetryTaskResponse>, Status> {
        let answer = |task| Response::new(proto::RetryTaskResponse { task: Some(task) });
        self.retry(request.into_inner()).await.map(answer).map_err(status)
    }

    type WatchTaskStream = WatchTaskStream;

    async fn watch_task(
        &self,
        request: Request<proto::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        self.watch(request.get_ref()).await.map(Response::new).map_err(status)
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
        let task = task_message(&shared.handles.tasks, id).await;
        let ended = task.as_ref().map_or(true, |task| task.finished_at.is_some());
        let answer = task.map(|task| proto::WatchTaskResponse { task: Some(task) }).map_err(status);
        if sender.send(answer).await.is_err() || ended {
            return;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                // Finished, or waiting again: the next round says which.
                changes = shared.handles.tasks.watch(id);
            },
            () = sender.closed() => return,
            () = shared.handles.shutdown.wait() => {
                let _ = sender.send(Err(status(Error::Stopping))).await;
                return;
            }
        }
    }
}
