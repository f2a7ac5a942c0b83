//! The coordinator's gRPC services: messages in, checked types out, and back.

mod accepted;
mod artifacts;
mod fields;
mod imports;
mod repeating;
mod repository;
mod shared;
mod task_pages;
mod tasks;
mod watchers;

use rstuf_api::{
    limits,
    proto::{
        artifacts::v1::artifact_service_server::{self, ArtifactServiceServer},
        repository::v1::repository_service_server::{self, RepositoryServiceServer},
        tasks::v1::task_service_server::{self, TaskServiceServer},
    },
};
use tonic::service::Routes;

pub(crate) use shared::Shared;

/// Services whose health is told, and which reflection shows.
pub(crate) const SERVICES: [&str; 3] =
    [artifact_service_server::SERVICE_NAME, task_service_server::SERVICE_NAME, repository_service_server::SERVICE_NAME];

/// Whether the answer of a method takes as long as what it tells of: there is a limit of its own for those.
pub(crate) fn is_long(method: &str) -> bool {
    method.strip_prefix('/').and_then(|method| method.split_once('/')) == Some((SERVICES[1], "WatchTask"))
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

#[cfg(test)]
mod tests;
