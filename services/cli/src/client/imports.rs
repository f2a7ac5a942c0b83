//! Calls that hand over an import.

use rstuf_api::{
    Reason, Refusal,
    proto::artifacts::v1::{
        AppendImportRequest, CommitImportRequest, CreateImportRequest, DeleteImportRequest, Import,
        ImportArtifactsRequest,
    },
};
use rstuf_runtime::retry::Policy;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Response;

use super::{Broken, Client, RETRY, accepted, answer::Call, attempts, messages::Part, timed};
use crate::{error::Error, view};

/// What an answer lacks if the coordinator breaks the interface.
const NO_IMPORT: &str = "the coordinator answered without an import";

/// What became of a wish to open an import.
#[derive(Debug)]
pub(crate) enum Created {
    /// It is open, and goes on at its offset.
    Open(OpenImport),
    /// The request id belongs to a task, maybe of the same import.
    Used,
}

/// An import that is appended to.
#[derive(Debug)]
pub(crate) struct OpenImport {
    pub(crate) id: String,
    /// Changes that the coordinator has of it.
    pub(crate) next_offset: u64,
}

impl From<Import> for OpenImport {
    fn from(message: Import) -> Self {
        Self { id: message.id, next_offset: message.next_offset }
    }
}

/// Makes messages of parts: the first one carries the request id.
fn stamp(request_id: &str, hold: bool) -> impl FnMut(Part) -> ImportArtifactsRequest + use<> {
    let mut request_id = request_id.to_owned();
    move |part| ImportArtifactsRequest {
        request_id: std::mem::take(&mut request_id),
        changes: part.into_changes(),
        hold,
    }
}

impl Client {
    /// Makes attempts of [`Client::import_stream`]; only one where what is streamed can't be had `again`.
    pub(crate) async fn import(
        &self,
        again: bool,
        attempt: impl AsyncFnMut() -> Result<Result<view::Task, Broken>, Error>,
    ) -> Result<view::Task, Error> {
        let attempts_max = if again { RETRY.attempts_max } else { 1 };
        let patience = self.patience(Policy { attempts_max, ..RETRY });
        // What is large takes its time.
        attempts(patience.untimed(), attempt).await
    }

    /// Opens an import that is appended to, or goes on with the one of this request id.
    pub(crate) async fn create_import(&self, request_id: &str, hold: bool) -> Result<Created, Error> {
        let request = CreateImportRequest { request_id: request_id.to_owned(), hold };
        let call = async || match self.artifacts().create_import(timed(request.clone())).await {
            Ok(answer) => Ok(Response::new(answer.into_inner().import.map(|it| Created::Open(it.into())))),
            Err(status) if Reason::of(&status).is_some_and(|it| it.name == Refusal::RequestIdUsed) => {
                Ok(Response::new(Some(Created::Used)))
            }
            Err(status) => Err(status),
        };
        self.retried(Call::Write, call).await?.ok_or_else(|| Error::failed(NO_IMPORT))
    }

    /// Appends to an open import; answers where it goes on.
    pub(crate) async fn append_import(&self, id: &str, offset: u64, part: Part) -> Result<u64, Error> {
        let request = AppendImportRequest { id: id.to_owned(), offset, changes: part.into_changes() };
        let call = async || self.artifacts().append_import(timed(request.clone())).await;
        let import = self.retried(Call::Write, call).await?.import;
        import.map(|import| import.next_offset).ok_or_else(|| Error::failed(NO_IMPORT))
    }

    /// Makes an open import a task.
    pub(crate) async fn commit_import(&self, id: &str) -> Result<view::Task, Error> {
        let request = CommitImportRequest { id: id.to_owned() };
        let call = async || self.artifacts().commit_import(timed(request.clone())).await;
        accepted(self.retried(Call::Write, call).await?.task)
    }

    /// Drops an open import.
    pub(crate) async fn delete_import(&self, id: &str) -> Result<(), Error> {
        let request = DeleteImportRequest { id: id.to_owned() };
        let call = async || self.artifacts().delete_import(timed(request.clone())).await;
        self.retried(Call::Write, call).await.map(drop)
    }

    /// Imports a stream as one task, once. The outer error is final; after the inner one the same may be streamed
    /// again.
    pub(crate) async fn import_stream<S>(
        &self,
        request_id: &str,
        hold: bool,
        parts: S,
    ) -> Result<Result<view::Task, Broken>, Error>
    where
        S: Stream<Item = Part> + Send + 'static,
    {
        match self.artifacts().import_artifacts(parts.map(stamp(request_id, hold))).await {
            Ok(answer) => accepted(answer.into_inner().task).map(Ok),
            Err(status) => self.broken(&status, Call::Write).await.map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_of_an_import_carries_the_request_id() {
        let messages: Vec<_> = [Part::default(), Part::default()].into_iter().map(stamp("id7", true)).collect();
        assert_eq!(messages.iter().map(|message| message.request_id.as_str()).collect::<Vec<_>>(), ["id7", ""]);
        assert!(messages.iter().all(|message| message.hold));
    }
}
