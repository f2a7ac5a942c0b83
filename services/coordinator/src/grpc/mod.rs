//! The coordinator's gRPC services: messages in, checked types out, and back.

mod artifacts;
mod repository;
mod tasks;

use std::sync::Arc;

use rstuf_api::{
    Violation, limits,
    proto::{
        artifacts::v1::artifact_service_server::ArtifactServiceServer,
        repository::v1::repository_service_server::RepositoryServiceServer,
        tasks::v1::task_service_server::TaskServiceServer,
    },
};
use tonic::service::Routes;
use uuid::Uuid;

use crate::{Error, Result, handles::Handles, intake::Intake, published::index::Index, start::ceremony::Ceremonies};

/// Descriptors of all services, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = rstuf_api::proto::DESCRIPTORS;
/// Services whose health is told.
pub(crate) const SERVICES: [&str; 3] =
    ["rstuf.artifacts.v1.ArtifactService", "rstuf.tasks.v1.TaskService", "rstuf.repository.v1.RepositoryService"];

/// What the services use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared {
    /// What everybody works with.
    pub handles: Handles,
    /// Takes submissions in.
    pub intake: Intake,
    /// The list of artifacts.
    pub index: Index,
    /// Takes ceremonies in.
    pub ceremonies: Arc<Ceremonies>,
}

/// All services, with the limits of their messages.
pub(crate) fn routes(shared: Shared) -> Routes {
    let artifacts = ArtifactServiceServer::new(artifacts::Service::new(shared.clone()))
        .max_decoding_message_size(limits::REQUEST_BYTES_MAX);
    let tasks = TaskServiceServer::new(tasks::Service::new(shared.clone()))
        .max_decoding_message_size(limits::SMALL_MESSAGE_BYTES_MAX);
    let repository = RepositoryServiceServer::new(repository::Service::new(shared))
        .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
    Routes::new(artifacts).add_service(tasks).add_service(repository)
}

/// A page size: 0 means the default.
fn page_size(value: u32, default: usize, max: usize) -> Result<usize> {
    match value as usize {
        0 => Ok(default),
        size if size <= max => Ok(size),
        size => Err(Error::field("page_size", format!("{size}, allowed are 1 to {max}, or 0 for {default}"))),
    }
}

fn request_id(text: String) -> Result<String> {
    let allowed = text.len() <= limits::REQUEST_ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if allowed {
        return Ok(text);
    }
    let allowed = format!("allowed are up to {} printable ASCII characters", limits::REQUEST_ID_BYTES_MAX);
    let description = format!("`{}`, {allowed}", text.escape_default());
    Err(Violation { field: "request_id".to_owned(), description }.into())
}

fn task_id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| Error::field("id", format!("`{}` is not the id of a task", text.escape_default())))
}
