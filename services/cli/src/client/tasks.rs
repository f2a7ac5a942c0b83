//! Calls about tasks.

use rstuf_api::{
    RequestId,
    proto::tasks::v1::{
        CancelTaskRequest, GetTaskRequest, ListTaskChangesRequest, ListTaskResultsRequest, ListTasksRequest,
        RetryTaskRequest, WatchTaskRequest, WatchTaskResponse, get_task_request::Key,
    },
};
use tonic::Streaming;

use super::{Broken, Client, accepted, answer::Call, messages::wanted_state, timed};
use crate::{error::Error, view};

impl Client {
    /// One task.
    pub(crate) async fn task(&self, id: &str) -> Result<view::Task, Error> {
        self.task_by(Key::Id(id.to_owned())).await
    }

    /// The task of a request.
    pub(crate) async fn task_of_request(&self, id: &RequestId) -> Result<view::Task, Error> {
        self.task_by(Key::RequestId(id.to_string())).await
    }

    async fn task_by(&self, key: Key) -> Result<view::Task, Error> {
        let request = GetTaskRequest { key: Some(key) };
        let call = async || self.tasks().get_task(timed(request.clone())).await;
        accepted(self.retried(Call::Read, call).await?.task)
    }

    /// One page of tasks, of all or of one state, and the token of the next page.
    pub(crate) async fn list_tasks(
        &self,
        state: Option<view::TaskState>,
        page_size: u32,
        page_token: String,
    ) -> Result<(Vec<view::Task>, String), Error> {
        let request = ListTasksRequest { page_size, page_token, state: wanted_state(state).into() };
        let page = self.retried(Call::Read, async || self.tasks().list_tasks(timed(request.clone())).await).await?;
        Ok((page.tasks.into_iter().map(view::Task::from).collect(), page.next_page_token))
    }

    /// Drops a task that is held, waits or is set aside.
    pub(crate) async fn cancel(&self, id: &str) -> Result<view::Task, Error> {
        let request = CancelTaskRequest { id: id.to_owned() };
        let call = async || self.tasks().cancel_task(timed(request.clone())).await;
        accepted(self.retried(Call::Write, call).await?.task)
    }

    /// Puts a task that is set aside back into the queue.
    pub(crate) async fn retry(&self, id: &str) -> Result<view::Task, Error> {
        let request = RetryTaskRequest { id: id.to_owned() };
        let call = async || self.tasks().retry_task(timed(request.clone())).await;
        accepted(self.retried(Call::Write, call).await?.task)
    }

    /// One page of what a task is going to change, and the token of the next page.
    pub(crate) async fn task_changes(
        &self,
        id: &str,
        page_size: u32,
        page_token: String,
    ) -> Result<(Vec<view::TaskChange>, String), Error> {
        let request = ListTaskChangesRequest { id: id.to_owned(), page_size, page_token };
        let call = async || self.tasks().list_task_changes(timed(request.clone())).await;
        let page = self.retried(Call::Read, call).await?;
        Ok((page.changes.into_iter().map(view::TaskChange::from).collect(), page.next_page_token))
    }

    /// One page of a task's results, and the token of the next page.
    pub(crate) async fn task_results(
        &self,
        id: &str,
        page_size: u32,
        page_token: String,
    ) -> Result<(Vec<view::ChangeResult>, String), Error> {
        let request = ListTaskResultsRequest { id: id.to_owned(), page_size, page_token };
        let call = async || self.tasks().list_task_results(timed(request.clone())).await;
        let page = self.retried(Call::Read, call).await?;
        Ok((page.results.into_iter().map(view::ChangeResult::from).collect(), page.next_page_token))
    }

    /// Starts to watch a task, once. The outer error is final, the inner one may be tried again.
    pub(crate) async fn watch(&self, id: &str) -> Result<Result<Watch, Broken>, Error> {
        let request = WatchTaskRequest { id: id.to_owned() };
        match self.tasks().watch_task(request).await {
            Ok(answer) => Ok(Ok(Watch { client: self.clone(), stream: answer.into_inner() })),
            Err(status) => self.broken(&status, Call::Read).await.map(Err),
        }
    }
}

/// The states of one task, as they come.
#[derive(Debug)]
pub(crate) struct Watch {
    client: Client,
    stream: Streaming<WatchTaskResponse>,
}

impl Watch {
    /// The next state; none at the end of the stream. Errors as of [`Client::watch`].
    pub(crate) async fn next(&mut self) -> Result<Result<Option<view::Task>, Broken>, Error> {
        match self.stream.message().await {
            Ok(Some(answer)) => accepted(answer.task).map(|task| Ok(Some(task))),
            Ok(None) => Ok(Ok(None)),
            Err(status) => self.client.broken(&status, Call::Read).await.map(Err),
        }
    }
}
