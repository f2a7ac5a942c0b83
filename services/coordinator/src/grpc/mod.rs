//! The coordinator's gRPC services: messages in, checked types out, and back.

mod artifacts;
mod fields;
mod repository;
mod shared;
mod tasks;

use rstuf_api::{
    limits,
    proto::{
        artifacts::v1::artifact_service_server::ArtifactServiceServer,
        repository::v1::repository_service_server::RepositoryServiceServer,
        tasks::v1::task_service_server::TaskServiceServer,
    },
};
use tonic::service::Routes;

pub(crate) use shared::Shared;

/// Descriptors of all services, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = rstuf_api::proto::DESCRIPTORS;
/// Services whose health is told.
pub(crate) const SERVICES: [&str; 3] =
    ["rstuf.artifacts.v1.ArtifactService", "rstuf.tasks.v1.TaskService", "rstuf.repository.v1.RepositoryService"];

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
