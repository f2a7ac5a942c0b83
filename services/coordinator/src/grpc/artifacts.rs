//! `rstuf.artifacts.v1`.

use prost::Message as _;
use rstuf_api::{
    convert,
    page::{Page, Sizes},
    proto::artifacts::v1 as proto,
    status,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status, Streaming};

use super::{accepted::Accepted, fields::request_id, imports, shared::Shared, tasks::task_message};
use crate::{
    Error, Result,
    blocking::{blocking, blocking_for},
    intake::Submission,
    published::index::Query,
};

/// Artifacts in a page, unless asked otherwise, and at most.
const SIZES: Sizes = Sizes { default: 100, max: 1_000 };
/// A page ends with the artifact that brings it over so many bytes: gRPC libraries refuse messages above 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// Lists and lookups at a time: with a page each, this bounds what they hold in memory, and leaves threads to whoever
/// publishes. Others wait their turn.
const READERS_MAX: usize = 8;

pub(super) struct Service {
    shared: Shared,
    readers: Semaphore,
}

impl Service {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, readers: Semaphore::new(READERS_MAX) }
    }

    async fn submit(&self, request: proto::SubmitArtifactsRequest) -> Result<proto::SubmitArtifactsResponse> {
        let id = request_id(&request.request_id)?;
        let with_paths = request.hold || self.shared.intake.queue().asks_for_paths();
        let (bytes, changes) = (request.encoded_len(), request.changes);
        let submission = move || Ok(Submission::of(&convert::changes(changes, true)?, with_paths));
        let submission = blocking_for(bytes, submission).await?;
        let task = self.shared.intake.submit(id, submission, request.hold).await?;
        Ok(proto::SubmitArtifactsResponse { task: Some(task_message(&self.shared.handles.tasks, task).await?) })
    }

    async fn import(
        &self,
        mut parts: Streaming<proto::ImportArtifactsRequest>,
        accepted: &mut Accepted,
    ) -> Result<proto::ImportArtifactsResponse, Status> {
        let Some(first) = parts.message().await? else {
            return Err(status(Error::field("changes", "the import is empty, allowed is at least one change")));
        };
        let id = request_id(&first.request_id).map_err(status)?;
        let mut import = self.shared.intake.import(id, first.hold).await.map_err(status)?;
        let mut next = Some(first.changes);
        while let Some(changes) = next {
            accepted.count(&changes);
            let changes = imports::encoded(changes).await.map_err(status)?;
            import.add(&changes).await.map_err(status)?;
            next = parts.message().await?.map(|part| part.changes);
        }
        let task = import.close().await.map_err(status)?;
        let task = task_message(&self.shared.handles.tasks, task).await.map_err(status)?;
        Ok(proto::ImportArtifactsResponse { task: Some(task) })
    }

    async fn publish(&self, request: proto::PublishArtifactsRequest) -> Result<proto::PublishArtifactsResponse> {
        let task = self.shared.intake.publish(request_id(&request.request_id)?).await?;
        Ok(proto::PublishArtifactsResponse { task: Some(task_message(&self.shared.handles.tasks, task).await?) })
    }

    async fn get(&self, request: proto::GetArtifactRequest) -> Result<proto::GetArtifactResponse> {
        let path = convert::target_path("path", &request.path)?;
        let handles = &self.shared.handles;
        let role = handles.published.require_repository()?.role_for(&path);
        let _place = self.place().await?;
        let (row, view) = handles.published.role_with(&role, || self.shared.index.view());
        let missing = || Error::NoArtifact { path: path.clone() };
        let (target, row) = match view {
            Ok(view) => {
                let path = path.clone();
                (blocking(move || view.get(&path)).await?, row)
            }
            // Until the list has been read, the document tells.
            Err(_) => match handles.published.targets(&role).await? {
                Some((mut targets, row)) => (targets.targets.remove(&path), Some(row)),
                None => (None, None),
            },
        };
        let (target, row) = target.zip(row).ok_or_else(missing)?;
        let artifact = Some(convert::artifact_message(&path, &target));
        Ok(proto::GetArtifactResponse { artifact, role: role.to_string(), role_version: row.version.get() })
    }

    async fn list(&self, request: proto::ListArtifactsRequest) -> Result<proto::ListArtifactsResponse> {
        let (prefix, pattern) = (request.path_prefix, request.path_pattern);
        let page = Page::read(SIZES, request.page_size, &request.page_token, &["artifacts", &prefix, &pattern])?;
        self.shared.handles.published.require_repository()?;
        let pattern = (!pattern.is_empty()).then(|| pattern.parse()).transpose();
        let query = Query {
            prefix,
            pattern: pattern.map_err(convert::violation("path_pattern"))?,
            after: page.cursor(|text| text.parse().ok())?,
            limit: page.size(),
        };
        let _place = self.place().await?;
        let view = self.shared.index.view()?;
        blocking(move || {
            let found = view.page(&query, PAGE_BYTES)?;
            let artifacts = found.artifacts.iter().map(|(path, target)| convert::artifact_message(path, target));
            let next_page_token = found.more_after.map(|path| page.token(path.as_str())).unwrap_or_default();
            Ok(proto::ListArtifactsResponse { artifacts: artifacts.collect(), next_page_token })
        })
        .await
    }

    /// Waits for one of the places of those that read.
    async fn place(&self) -> Result<SemaphorePermit<'_>> {
        self.readers.acquire().await.map_err(|_| Error::Stopping)
    }
}

#[tonic::async_trait]
impl proto::artifact_service_server::ArtifactService for Service {
    async fn submit_artifacts(
        &self,
        request: Request<proto::SubmitArtifactsRequest>,
    ) -> Result<Response<proto::SubmitArtifactsResponse>, Status> {
        let mut accepted = Accepted::new(&request);
        accepted.count(&request.get_ref().changes);
        let answer = self.submit(request.into_inner()).await.map_err(status)?;
        accepted.log(answer.task.as_ref());
        Ok(Response::new(answer))
    }

    async fn import_artifacts(
        &self,
        request: Request<Streaming<proto::ImportArtifactsRequest>>,
    ) -> Result<Response<proto::ImportArtifactsResponse>, Status> {
        let mut accepted = Accepted::new(&request);
        let answer = self.import(request.into_inner(), &mut accepted).await?;
        accepted.log(answer.task.as_ref());
        Ok(Response::new(answer))
    }

    async fn create_import(
        &self,
        request: Request<proto::CreateImportRequest>,
    ) -> Result<Response<proto::CreateImportResponse>, Status> {
        imports::create(&self.shared, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn append_import(
        &self,
        request: Request<proto::AppendImportRequest>,
    ) -> Result<Response<proto::AppendImportResponse>, Status> {
        imports::append(&self.shared, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_import(
        &self,
        request: Request<proto::GetImportRequest>,
    ) -> Result<Response<proto::GetImportResponse>, Status> {
        imports::get(&self.shared, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn commit_import(
        &self,
        request: Request<proto::CommitImportRequest>,
    ) -> Result<Response<proto::CommitImportResponse>, Status> {
        let accepted = Accepted::new(&request);
        let answer = imports::commit(&self.shared, request.into_inner()).await.map_err(status)?;
        accepted.log(answer.task.as_ref());
        Ok(Response::new(answer))
    }

    async fn delete_import(
        &self,
        request: Request<proto::DeleteImportRequest>,
    ) -> Result<Response<proto::DeleteImportResponse>, Status> {
        imports::delete(&self.shared, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn publish_artifacts(
        &self,
        request: Request<proto::PublishArtifactsRequest>,
    ) -> Result<Response<proto::PublishArtifactsResponse>, Status> {
        let accepted = Accepted::new(&request);
        let answer = self.publish(request.into_inner()).await.map_err(status)?;
        accepted.log(answer.task.as_ref());
        Ok(Response::new(answer))
    }

    async fn get_artifact(
        &self,
        request: Request<proto::GetArtifactRequest>,
    ) -> Result<Response<proto::GetArtifactResponse>, Status> {
        self.get(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_artifacts(
        &self,
        request: Request<proto::ListArtifactsRequest>,
    ) -> Result<Response<proto::ListArtifactsResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new).map_err(status)
    }
}
