//! Signers that answer, and can't sign for the repository.

use std::{
    fs,
    process::{Child, Command},
};

use anyhow::{Context as _, ensure};
use rstuf_tests::{
    Client,
    processes::{Processes, Service, free_port},
    until,
};

/// A process that ends with the test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("{command:?}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What status says of each signer.
async fn messages(client: &Client) -> anyhow::Result<Vec<String>> {
    Ok(client.status().await?.signers.into_iter().map(|signer| signer.message).collect())
}

/// Its state was lost and it made a new key: named by status and `/readyz` before anything is to be signed, until it is
/// mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_with_a_fresh_state_is_named() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let client = system.client()?;
    ensure!(messages(&client).await? == [""; 3]);
    system.terminate(Service::Snapshot).await?;
    let (state, kept) = (dir.path().join("snapshot"), dir.path().join("kept"));
    fs::rename(&state, &kept)?;
    let fresh = Running::start(system.command(Service::Snapshot).arg("--create-key"))?;
    let readyz = system.admin_url(Service::Coordinator) + "/readyz";
    let ready = async || anyhow::Ok(reqwest::get(&readyz).await?.text().await?);
    until("status and readyz name it", async || {
        let named = messages(&client).await?[1].contains("is not pinned to this repository");
        Ok(named && ready().await?.contains("waiting will not mend it: the snapshot signer is not pinned"))
    })
    .await?;
    drop(fresh);
    fs::remove_dir_all(&state)?;
    fs::rename(&kept, &state)?;
    system.spawn(Service::Snapshot)?;
    until("all is well again", async || Ok(messages(&client).await? == [""; 3] && ready().await? == "ok\n")).await?;
    client.add(&[("a", b"b")]).await?;
    Ok(())
}

/// Two addresses were swapped.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_at_the_address_of_another_is_named() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    system.terminate(Service::Coordinator).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut swapped = system.binary(Service::Coordinator);
    swapped.args(["--listen", &address, "--admin-listen", "127.0.0.1:0"]);
    swapped.arg("--state-dir").arg(dir.path().join("coordinator"));
    swapped.arg("--published-dir").arg(dir.path().join("published"));
    let signers = [Service::Targets, Service::Snapshot, Service::Timestamp];
    let answering = [Service::Targets, Service::Timestamp, Service::Snapshot];
    for (signer, answering) in signers.into_iter().zip(answering) {
        swapped.arg(format!("--{}-signer={}", signer.name(), system.url(answering)));
    }
    let _running = Running::start(&mut swapped)?;
    let client = Client::connect(&format!("http://{address}"), dir.path().join("artifacts"))?;
    until("status names both", async || {
        let Ok(messages) = messages(&client).await else { return Ok(false) };
        Ok(messages[0].is_empty()
            && messages[1].contains("the timestamp signer answers at")
            && messages[2].contains("the snapshot signer answers at"))
    })
    .await
}
