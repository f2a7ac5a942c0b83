//! What the command says where it gets no answer: somebody there is busy, or nobody is there.

use std::{net::TcpListener, process::Stdio, thread};

use anyhow::ensure;
use rstuf_api::proto::artifacts::v1::artifact_service_client::ArtifactServiceClient;
use rstuf_tests::{
    processes::{self, Processes, Service},
    until,
};
use tokio::process::{Child, Command};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// The exit code of `rstuf status`, and what it says of its failure.
async fn status(server: &str) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new(processes::binaries().await?.join("rstuf"));
    let output = command.env_clear().args(["--server", server, "status"]).output().await?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// That it may be tried again, and what it says; nothing of another coordinator.
async fn told_busy(server: &str) -> anyhow::Result<String> {
    let (exit, said) = status(server).await?;
    let to_do = "try again in a moment; where it stays so, the coordinator's log names the limit that is reached";
    ensure!(exit == Some(75) && said.contains("is busy") && said.contains(to_do), "{exit:?}: {said}");
    ensure!(said.contains(server) && !said.contains("start it") && !said.contains("rstuf dev"), "{said}");
    Ok(said)
}

/// A coordinator that takes so much at a time, all from one machine.
async fn coordinator(system: &Processes, limits: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::from(system.command(Service::Coordinator));
    command.args(["--peer-percent-max", "100"]).args(limits);
    let child = command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    until("it listens", async || Ok(status(&system.coordinator_url()).await?.0 == Some(0))).await?;
    Ok(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_busy_is_told_from_one_that_is_not_there() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let system = Processes::new(dir.path(), "flat").await?;
    let server = system.coordinator_url();
    let (exit, said) = status(&server).await?;
    ensure!(exit == Some(69) && said.contains("start it") && said.contains("rstuf dev"), "{exit:?}: {said}");
    ensure!(!said.contains("busy"), "{said}");

    // As many connections as there may be, each with a request.
    let mut child = coordinator(&system, &["--connections-max", "2"]).await?;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = HealthClient::new(rstuf_runtime::connect(&server)?);
        let mut answers = client.watch(HealthCheckRequest::default()).await?.into_inner();
        ensure!(answers.message().await?.is_some());
        held.push((client, answers));
    }
    let said = told_busy(&server).await?;
    ensure!(said.contains("closed the connection before it had answered"), "{said}");
    drop(held);
    child.kill().await?;

    // As many requests as there may be.
    let mut child = coordinator(&system, &["--requests-max", "2"]).await?;
    let channel = rstuf_runtime::connect(&server)?;
    let imports = [(); 2].map(|()| {
        let mut client = ArtifactServiceClient::new(channel.clone());
        tokio::spawn(async move { client.import_artifacts(tokio_stream::pending()).await })
    });
    until("it has no place left", async || Ok(status(&server).await?.0 != Some(0))).await?;
    let said = told_busy(&server).await?;
    ensure!(said.contains("2 requests"), "{said}");
    imports.iter().for_each(tokio::task::JoinHandle::abort);
    child.kill().await?;
    Ok(())
}

/// At once, or when the call is there and nobody reads it: that resets the connection.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_connections_and_closes_them_is_busy() -> anyhow::Result<()> {
    for wait in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = format!("http://{}", listener.local_addr()?);
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if wait {
                    let _ = stream.peek(&mut [0]);
                }
            }
        });
        told_busy(&server).await?;
    }
    Ok(())
}
