//! Calls that hand over an import.

use rstuf_api::proto::artifacts::v1::{self as artifacts, ImportArtifactsRequest};
use rstuf_api::proto::tasks::v1::Task;
use rstuf_api::{Reason, Refusal};
use tokio_stream::Stream;
use tonic::Response;

use super::answer::Call;
use super::{Broken, Client, NO_TASK, timed};
use crate::error::Error;

/// What an answer lacks if the coordinator breaks the interface.
const NO_IMPORT: &str = "the coordinator answered without an import";

/// What became of a wish to open an import.
#[derive(Debug)]
pub(crate) enum Created {
    /// It is open, and goes on at its offset.
    Open(artifacts::Import),
    /// The request id belongs to a task, maybe of the same import.
    Used,
}

impl Client {
    /// Imports all of `parts` as one task; the first must carry a request id.
    pub(crate) async fn import(&self, parts: &[ImportArtifactsRequest]) -> Result<Task, Error> {
        let call = async || self.artifacts().import_artifacts(tokio_stream::iter(parts.to_vec())).await;
        self.retried(Call::Write, call).await?.task.ok_or_else(|| Error::failed(NO_TASK))
    }

    /// Opens an import that is appended to, or goes on with the one of this request id.
    pub(crate) async fn create_import(&self, request_id: &str, hold: bool) -> Result<Created, Error> {
        let request = artifacts::CreateImportRequest { request_id: request_id.to_owned(), hold };
        let call = async || match self.artifacts().create_import(timed(request.clone())).await {
            Ok(answer) => Ok(Response::new(answer.into_inner().import.map(Created::Open))),
            Err(status) if Reason::of(&status).is_some_and(|it| it.name == Refusal::RequestIdUsed) => {
                Ok(Response::new(Some(Created::Used)))
            }
            Err(status) => Err(status),
        };
        self.retried(Call::Write, call).await?.ok_or_else(|| Error::failed(NO_IMPORT))
    }

    /// Appends to an open import; answers where it goes on.
    pub(crate) async fn append_import(&self, request: &artifacts::AppendImportRequest) -> Result<u64, Error> {
        let call = async || self.artifacts().append_import(timed(request.clone())).await;
        let import = self.retried(Call::Write, call).await?.import;
        import.map(|import| import.next_offset).ok_or_else(|| Error::failed(NO_IMPORT))
    }

    /// Makes an open import a task.
    pub(crate) async fn commit_import(&self, id: &str) -> Result<Task, Error> {
        let request = artifacts::CommitImportRequest { id: id.to_owned() };
        let call = async || self.artifacts().commit_import(timed(request.clone())).await;
        self.retried(Call::Write, call).await?.task.ok_or_else(|| Error::failed(NO_TASK))
    }

    /// Drops an open import.
    pub(crate) async fn delete_import(&self, id: &str) -> Result<(), Error> {
        let request = artifacts::DeleteImportRequest { id: id.to_owned() };
        let call = async || self.artifacts().delete_import(timed(request.clone())).await;
        self.retried(Call::Write, call).await.map(drop)
    }

    /// Imports a stream as one task, once. The outer error is final; after the inner one the same may be streamed
    /// again.
    pub(crate) async fn import_stream<S>(&self, parts: S) -> Result<Result<Task, Broken>, Error>
    where
        S: Stream<Item = ImportArtifactsRequest> + Send + 'static,
    {
        match self.artifacts().import_artifacts(parts).await {
            Ok(answer) => answer.into_inner().task.map(Ok).ok_or_else(|| Error::failed(NO_TASK)),
            Err(status) => self.broken(&status, Call::Write).await.map(Err),
        }
    }
}
