//! `rstuf.artifacts.v1`.

use std::collections::BTreeMap;

use rstuf_api::{convert, proto::artifacts::v1 as proto, status};
use rstuf_tuf::{RoleName, TargetPath, Targets};
use tonic::{Request, Response, Status, Streaming};

use super::{page_size, request_id, tasks::task_message};
use crate::{Error, Result, coordinator::Shared, journal::rows::RoleRow};

/// Artifacts in a page, unless asked otherwise.
const PAGE_DEFAULT: usize = 100;
/// Artifacts in a page at most.
const PAGE_MAX: usize = 1_000;

pub(super) struct Service {
    shared: Shared,
}

impl Service {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    async fn submit(&self, request: proto::SubmitArtifactsRequest) -> Result<proto::SubmitArtifactsResponse> {
        let id = request_id(request.request_id)?;
        let changes = convert::changes(request.changes, true)?;
        let task = self.shared.intake.submit(id, &changes, request.hold).await?;
        Ok(proto::SubmitArtifactsResponse { task: Some(task_message(&self.shared.tasks, task)?) })
    }

    async fn import(
        &self,
        mut parts: Streaming<proto::ImportArtifactsRequest>,
    ) -> Result<proto::ImportArtifactsResponse, Status> {
        let Some(first) = parts.message().await? else {
            return Err(status(Error::field("changes", "the import is empty, allowed is at least one change")));
        };
        let id = request_id(first.request_id).map_err(status)?;
        let mut import = self.shared.intake.import(id, first.hold).map_err(status)?;
        let mut next = Some(first.changes);
        while let Some(changes) = next {
            let changes = convert::changes(changes, false).map_err(Error::from).map_err(status)?;
            import.add(&changes).await.map_err(status)?;
            next = parts.message().await?.map(|part| part.changes);
        }
        let task = import.close().await.map_err(status)?;
        let task = task_message(&self.shared.tasks, task).map_err(status)?;
        Ok(proto::ImportArtifactsResponse { task: Some(task) })
    }

    async fn publish(&self, request: proto::PublishArtifactsRequest) -> Result<proto::PublishArtifactsResponse> {
        let task = self.shared.intake.publish(request_id(request.request_id)?).await?;
        Ok(proto::PublishArtifactsResponse { task: Some(task_message(&self.shared.tasks, task)?) })
    }

    async fn get(&self, request: proto::GetArtifactRequest) -> Result<proto::GetArtifactResponse> {
        let path = convert::target_path("path", &request.path)?;
        let mut documents = Documents { shared: &self.shared, read: BTreeMap::new() };
        let (role, targets, row) = documents.responsible(&path).await?;
        let missing = || Error::NoArtifact { path: path.clone() };
        let target = targets.targets.get(&path).ok_or_else(missing)?;
        let artifact = Some(convert::artifact_message(&path, target));
        Ok(proto::GetArtifactResponse { artifact, role: role.to_string(), role_version: row.version.get() })
    }

    async fn list(&self, request: proto::ListArtifactsRequest) -> Result<proto::ListArtifactsResponse> {
        let size = page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        self.shared.published.require_repository()?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(convert::target_path("page_token", token)?),
        };
        let after = after.as_ref().map(TargetPath::as_str);
        let paths = self.shared.index.list(&request.path_prefix, after, size)?;
        let mut documents = Documents { shared: &self.shared, read: BTreeMap::new() };
        let mut artifacts = Vec::with_capacity(paths.len());
        for path in &paths {
            // A publication may remove it between the list and the document.
            if let Some(target) = documents.responsible(path).await?.1.targets.get(path) {
                artifacts.push(convert::artifact_message(path, target));
            }
        }
        let full = paths.len() == size;
        let next_page_token = paths.last().filter(|_| full).map(ToString::to_string).unwrap_or_default();
        Ok(proto::ListArtifactsResponse { artifacts, next_page_token })
    }
}

/// Documents read for one request, each once.
struct Documents<'a> {
    shared: &'a Shared,
    read: BTreeMap<RoleName, (Targets, RoleRow)>,
}

impl Documents<'_> {
    /// The published document of the role that is responsible for a path.
    async fn responsible(&mut self, path: &TargetPath) -> Result<(RoleName, &Targets, RoleRow)> {
        let repository = self.shared.published.require_repository()?;
        let role = repository.role_for(path);
        if !self.read.contains_key(&role) {
            let document = self.shared.published.targets(&role).await?;
            let document = document.ok_or_else(|| Error::NoArtifact { path: path.clone() })?;
            self.read.insert(role.clone(), document);
        }
        let (targets, row) = self.read.get(&role).ok_or_else(|| Error::NoArtifact { path: path.clone() })?;
        Ok((role, targets, *row))
    }
}

#[tonic::async_trait]
impl proto::artifact_service_server::ArtifactService for Service {
    async fn submit_artifacts(
        &self,
        request: Request<proto::SubmitArtifactsRequest>,
    ) -> Result<Response<proto::SubmitArtifactsResponse>, Status> {
        self.submit(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn import_artifacts(
        &self,
        request: Request<Streaming<proto::ImportArtifactsRequest>>,
    ) -> Result<Response<proto::ImportArtifactsResponse>, Status> {
        self.import(request.into_inner()).await.map(Response::new)
    }

    async fn publish_artifacts(
        &self,
        request: Request<proto::PublishArtifactsRequest>,
    ) -> Result<Response<proto::PublishArtifactsResponse>, Status> {
        self.publish(request.into_inner()).await.map(Response::new).map_err(status)
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
