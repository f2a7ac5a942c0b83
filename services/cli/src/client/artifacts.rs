//! Calls about artifacts.

use rstuf_api::proto::artifacts::v1::{
    Artifact, GetArtifactRequest, ListArtifactsRequest, PublishArtifactsRequest, SubmitArtifactsRequest,
};
use tonic::{Code, Response};

use super::{Client, accepted, answer::Call, messages::Part, timed};
use crate::{error::Error, view};

/// An artifact, and where it stands in the metadata.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) artifact: view::Artifact,
    pub(crate) role: String,
    pub(crate) role_version: u32,
}

impl Client {
    /// Submits changes in one request.
    pub(crate) async fn submit(&self, request_id: &str, hold: bool, part: Part) -> Result<view::Task, Error> {
        let request = SubmitArtifactsRequest { request_id: request_id.to_owned(), changes: part.into_changes(), hold };
        let call = async || self.artifacts().submit_artifacts(timed(request.clone())).await;
        accepted(self.retried(Call::Write, call).await?.task)
    }

    /// Publishes what is held.
    pub(crate) async fn publish(&self, request_id: &str) -> Result<view::Task, Error> {
        let request = PublishArtifactsRequest { request_id: request_id.to_owned() };
        let call = async || self.artifacts().publish_artifacts(timed(request.clone())).await;
        accepted(self.retried(Call::Write, call).await?.task)
    }

    /// Looks one artifact up.
    pub(crate) async fn artifact(&self, path: &str) -> Result<Located, Error> {
        let request = GetArtifactRequest { path: path.to_owned() };
        let call = async || self.artifacts().get_artifact(timed(request.clone())).await;
        let answer = self.retried(Call::Read, call).await?;
        let artifact = answer.artifact.ok_or_else(|| Error::failed("the coordinator answered without an artifact"))?;
        Ok(Located { artifact: artifact.into(), role: answer.role, role_version: answer.role_version })
    }

    /// Looks one artifact up that need not be there.
    pub(crate) async fn find_artifact(&self, path: &str) -> Result<Option<view::Artifact>, Error> {
        let request = GetArtifactRequest { path: path.to_owned() };
        let call = async || match self.artifacts().get_artifact(timed(request.clone())).await {
            Ok(answer) => Ok(Response::new(answer.into_inner().artifact)),
            Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
            Err(status) => Err(status),
        };
        let found: Option<Artifact> = self.retried(Call::Read, call).await?;
        Ok(found.map(view::Artifact::from))
    }

    /// One page of the artifacts whose paths begin with `prefix` and, unless it is empty, match `pattern`, and the
    /// token of the next page.
    pub(crate) async fn list_artifacts(
        &self,
        prefix: &str,
        pattern: &str,
        page_size: u32,
        page_token: String,
    ) -> Result<(Vec<view::Artifact>, String), Error> {
        let request = ListArtifactsRequest {
            path_prefix: prefix.to_owned(),
            path_pattern: pattern.to_owned(),
            page_size,
            page_token,
        };
        let call = async || self.artifacts().list_artifacts(timed(request.clone())).await;
        let page = self.retried(Call::Read, call).await?;
        Ok((page.artifacts.into_iter().map(view::Artifact::from).collect(), page.next_page_token))
    }
}
