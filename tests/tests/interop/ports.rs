//! What the coordinator's port says that it serves.

use rstuf_tests::TestRepo;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// Health and reflection tell of the coordinator's services, and not of those of signers.
#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_names_its_own_services_and_no_others() -> anyhow::Result<()> {
    let mut repo = TestRepo::builder().layout("flat").start().await?;
    let channel = rstuf_runtime::connect(repo.coordinator_url())?;
    let own =
        ["rstuf.artifacts.v1.ArtifactService", "rstuf.repository.v1.RepositoryService", "rstuf.tasks.v1.TaskService"];
    let mut health = HealthClient::new(channel.clone());
    for name in own {
        let answer = health.check(HealthCheckRequest { service: name.to_owned() }).await?;
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving, "{name}");
    }
    let foreign = HealthCheckRequest { service: "rstuf.signer.v1.SignerService".to_owned() };
    assert_eq!(health.check(foreign).await.unwrap_err().code(), Code::NotFound);

    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { anyhow::bail!("no list: {answer:?}") };
    let mut names: Vec<_> =
        list.service.iter().map(|it| it.name.as_str()).filter(|it| it.starts_with("rstuf.")).collect();
    names.sort_unstable();
    assert_eq!(names, own);
    drop((health, answers, reflection));
    repo.stop().await
}
