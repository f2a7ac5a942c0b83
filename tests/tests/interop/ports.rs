//! What each port says that it serves.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use rstuf_runtime::Channel;
use rstuf_tests::processes::{Processes, Service};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const SERVED: [(Service, &[&str]); 4] = [
    (
        Service::Coordinator,
        &["rstuf.artifacts.v1.ArtifactService", "rstuf.repository.v1.RepositoryService", "rstuf.tasks.v1.TaskService"],
    ),
    (Service::Targets, &["rstuf.signer.v1.SignerService", "rstuf.signer.v1.TargetsSignerService"]),
    (Service::Snapshot, &["rstuf.signer.v1.SignerService", "rstuf.signer.v1.SnapshotSignerService"]),
    (Service::Timestamp, &["rstuf.signer.v1.SignerService", "rstuf.signer.v1.TimestampSignerService"]),
];

async fn health(channel: &Channel, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel.clone()).check(request).await.map(|answer| answer.get_ref().status())
}

async fn reflection(channel: &Channel, asked: MessageRequest) -> anyhow::Result<MessageResponse> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    answers.message().await?.and_then(|answer| answer.message_response).context("no answer")
}

/// Health and reflection of each port tell of what it serves, and of nothing that another one does.
#[tokio::test(flavor = "multi_thread")]
async fn each_port_names_its_own_services_and_no_others() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::new(dir.path(), "flat").await?;
    system.spawn_all()?;
    system.ready_for_ceremony().await?;
    let all: BTreeSet<&str> = SERVED.iter().flat_map(|(_, own)| *own).copied().collect();
    for (port, own) in SERVED {
        let channel = rstuf_runtime::connect(&system.url(port))?;
        ensure!(health(&channel, "").await? == ServingStatus::Serving);
        for name in &all {
            let symbol = reflection(&channel, MessageRequest::FileContainingSymbol((*name).to_owned())).await;
            if own.contains(name) {
                ensure!(health(&channel, name).await? == ServingStatus::Serving, "{port:?} {name}");
                ensure!(matches!(symbol?, MessageResponse::FileDescriptorResponse(_)), "{port:?} {name}");
            } else {
                ensure!(health(&channel, name).await.unwrap_err().code() == Code::NotFound, "{port:?} {name}");
                let error = symbol.unwrap_err();
                let status = error.downcast_ref::<Status>().map(Status::code);
                ensure!(status == Some(Code::NotFound), "{port:?} {name}: {error:?}");
            }
        }
        let list = reflection(&channel, MessageRequest::ListServices(String::new())).await?;
        let MessageResponse::ListServicesResponse(list) = list else { anyhow::bail!("no list: {list:?}") };
        let ours = list.service.iter().map(|it| it.name.as_str()).filter(|it| it.starts_with("rstuf."));
        ensure!(ours.collect::<BTreeSet<_>>() == own.iter().copied().collect(), "{port:?} {list:?}");
    }
    Ok(())
}
