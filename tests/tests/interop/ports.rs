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

/// What callers may hold is what each service's operator says, which it says again when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn each_port_keeps_to_its_settings() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let system = Processes::new(dir.path(), "flat").await?;
    let said = [
        ("--connections-max=40", "connections_max=40"),
        ("--peer-percent-max=30", "peer_percent_max=30"),
        ("--requests-max=21", "requests_max=21"),
    ];
    for (port, _) in SERVED {
        let log = dir.path().join("log");
        let file = std::fs::File::create(&log)?;
        let mut command = system.command(port);
        command.args(said.map(|(setting, _)| setting)).stdout(file.try_clone()?).stderr(file);
        let mut running = command.spawn()?;
        let mut line = None;
        let serves = rstuf_tests::until("it says what callers may hold", async || {
            let log = std::fs::read_to_string(&log)?;
            line = log.lines().find(|line| line.contains("what callers may hold at a time")).map(str::to_owned);
            Ok(line.is_some())
        })
        .await;
        running.kill()?;
        running.wait()?;
        serves?;
        let line = line.context("no line")?;
        for said in said.map(|(_, said)| said).into_iter().chain(["connections_max_of_a_peer=12"]) {
            ensure!(line.split_whitespace().any(|field| field == said), "{port:?} {said}: {line}");
        }
    }
    Ok(())
}
