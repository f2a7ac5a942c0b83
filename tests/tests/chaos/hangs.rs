//! Signers that hang: they are there, and do not answer.

use anyhow::{Context as _, ensure};
use rstuf_api::proto::repository::v1::GetStatusResponse;
use rstuf_tests::{
    processes::{Processes, Service},
    until,
};
use rustix::process::{Pid, Signal, kill_process};

fn reachable(status: &GetStatusResponse) -> Vec<bool> {
    status.signers.iter().map(|signer| signer.reachable).collect()
}

/// Who asks for the status is told within the time that he waits for it, as are `/readyz` and metrics, also while a
/// publication waits for that very signer.
#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_hangs_is_named_by_all_who_tell_of_it() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let system = Processes::start(dir.path(), "succinct:16").await?;
    let client = system.client()?;
    ensure!(reachable(&client.status().await?) == [true; 3]);
    let snapshot = system.id(Service::Snapshot).and_then(|id| Pid::from_raw(id.cast_signed())).context("no id")?;
    kill_process(snapshot, Signal::STOP)?;
    let task = client.submit(vec![client.file("a/b", b"c")?]).await?;

    let status = client.status().await?;
    ensure!(reachable(&status) == [true, false, true], "{status:?}");
    ensure!(status.signers[1].message.contains("no whole answer within 3s"), "{status:?}");
    // The same observation: nobody has to wait for another one.
    let read =
        async |path| anyhow::Ok(reqwest::get(system.admin_url(Service::Coordinator) + path).await?.text().await?);
    let (ready, metrics) = (read("/readyz").await?, read("/metrics").await?);
    ensure!(ready.starts_with("ok\nwarning: the snapshot signer at http://127.0.0.1:"), "{ready}");
    let told = |group: &str| {
        let line = metrics.lines().find(|line| line.starts_with("rstuf_signer_reachable") && line.contains(group));
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    ensure!(["targets", "snapshot", "timestamp"].map(told) == ["1", "0", "1"].map(|it| Some(it.to_owned())));

    kill_process(snapshot, Signal::CONT)?;
    client.done(&task).await?;
    until("all answer", async || Ok(reachable(&client.status().await?) == [true; 3])).await?;
    ensure!(read("/readyz").await? == "ok\n");
    Ok(())
}
