//! Lifetimes of a ceremony, and journals that are lost.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use rstuf_api::{
    convert::duration_message,
    proto::repository::v1::{DescribeRepositoryRequest, Lifetimes},
};
use rstuf_tests::{
    processes::{self, Processes, Service},
    python,
};

const DAY: u64 = 24 * 3_600;

fn lifetimes([bins, snapshot, timestamp, targets]: [u64; 4]) -> Lifetimes {
    let [bins, snapshot, timestamp, targets] =
        [bins, snapshot, timestamp, targets].map(|seconds| Some(duration_message(Duration::from_secs(seconds))));
    Lifetimes { bins, snapshot, timestamp, targets }
}

/// None of the defaults.
async fn hold_ceremony(system: &Processes, dir: &Path) -> anyhow::Result<()> {
    let rstuf = async || anyhow::Ok(std::process::Command::new(processes::binaries().await?.join("rstuf")));
    python::run(rstuf().await?.args(["key", "generate"]).arg(dir.join("root.pem")))?;
    let config = "layout = \"succinct:2\"\n[root]\nkeys = [\"root.pem\"]\n\
                  [lifetimes]\nbins = \"11d\"\nsnapshot = \"50h\"\ntimestamp = \"299m\"\ntargets = \"77d\"\n";
    fs::write(dir.join("ceremony.toml"), config)?;
    let mut ceremony = rstuf().await?;
    ceremony.args(["--server", &system.coordinator_url(), "ceremony", "--yes", "--config", "ceremony.toml"]);
    python::run(ceremony.current_dir(dir))?;
    Ok(())
}

/// A coordinator that has lost its journal.
async fn rebuilt(system: &mut Processes) -> anyhow::Result<Lifetimes> {
    system.terminate(Service::Coordinator).await?;
    fs::remove_dir_all(system.dir().join("coordinator"))?;
    described(system).await
}

async fn described(system: &mut Processes) -> anyhow::Result<Lifetimes> {
    system.spawn_all()?;
    system.all_ready().await?;
    // What it publishes with them, clients accept.
    let client = system.client()?;
    client.add(&[("a", b"went on")]).await?;
    let described = client.repository().describe_repository(DescribeRepositoryRequest {}).await?;
    described.into_inner().lifetimes.context("no lifetimes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_journal_has_the_lifetimes_of_the_ceremony() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::new(dir.path(), "succinct:2").await?;
    system.spawn_all()?;
    system.ready_for_ceremony().await?;
    hold_ceremony(&system, dir.path()).await?;
    let given = lifetimes([11 * DAY, 50 * 3_600, 299 * 60, 77 * DAY]);
    ensure!(described(&mut system).await? == given);
    ensure!(rebuilt(&mut system).await? == given, "after the journal was lost");

    // Of a release that did not write them down: the next start does.
    let kept = system.metadata_dir().join("lifetimes.json");
    let whole = fs::read(&kept)?;
    fs::remove_file(&kept)?;
    system.terminate(Service::Coordinator).await?;
    ensure!(described(&mut system).await? == given && fs::read(&kept)? == whole, "not written again");

    // Damaged, they are not guessed; left behind, the defaults hold, and that is said.
    system.terminate(Service::Coordinator).await?;
    fs::remove_dir_all(system.dir().join("coordinator"))?;
    fs::write(&kept, &whole[..whole.len() / 2])?;
    let refused = system.command(Service::Coordinator).output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    ensure!(!refused.status.success() && said.contains("lifetimes.json"), "{said}");
    fs::remove_file(&kept)?;
    fs::remove_dir_all(system.dir().join("coordinator"))?;
    ensure!(described(&mut system).await? == lifetimes([30 * DAY, 7 * DAY, DAY, 365 * DAY]));
    let log = fs::read_to_string(system.log(Service::Coordinator))?;
    ensure!(log.contains("the lifetimes of the ceremony are not beside what is published"), "{log}");
    Ok(())
}
