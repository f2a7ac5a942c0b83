//! Disks that are full.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rstuf_coordinator::effects::{Effect, Moment};
use rstuf_tests::{
    Expected, TestRepo,
    client::removal,
    processes::{Processes, Service},
};
use tonic::Code;

use crate::{
    effects::Trap,
    load::Load,
    support::{Request, Witness},
};

/// What every disk leaves free for what can't wait, and room for what is written beside it.
const DISK_MIB: u64 = 4 * FLOOR_MIB + 96;
/// The floor of free space that a state directory keeps.
pub(crate) const FLOOR_MIB: u64 = 64;

/// A small disk, mounted while this lives.
pub(crate) struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// None, said loudly, where nothing may be mounted; in CI that is a failure.
    pub(crate) fn mount(dir: &Path) -> anyhow::Result<Option<Self>> {
        Self::mount_of(dir, DISK_MIB)
    }

    fn mount_of(dir: &Path, mib: u64) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(dir)?;
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Ok(Some(Self { dir: dir.to_owned() }));
        }
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        ensure!(!in_ci, "no disk can be mounted, and in CI a full one is not optional: run as root");
        writeln!(std::io::stderr(), "\nSKIPPED: only root may mount a small disk, so a full one IS NOT TESTED\n")?;
        Ok(None)
    }

    fn fill(&self) -> anyhow::Result<()> {
        self.leave(FLOOR_MIB / 2)
    }

    /// Leaves so much free of what is free now.
    pub(crate) fn leave(&self, free_mib: u64) -> anyhow::Result<()> {
        let disk = rustix::fs::statvfs(&self.dir)?;
        let taken = (disk.f_bavail * disk.f_frsize).saturating_sub(free_mib << 20);
        let mut ballast = fs::OpenOptions::new().create(true).append(true).open(self.ballast())?;
        Ok(ballast.write_all(&vec![1; usize::try_from(taken)?])?)
    }

    pub(crate) fn make_space(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: processes that have files open there end a moment later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_submissions_and_loses_none() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&dir.path().join("coordinator"))? else { return Ok(()) };
    let mut system = Processes::start(dir.path(), "succinct:16").await?;
    let client = system.client()?;
    client.add(&[("before", b"it was full")]).await?;
    let mut expected: Expected = [("before".to_owned(), Some(b"it was full".to_vec()))].into();
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;

    let mut load = Load::new(3);
    load.start(&client);
    client.add(&[("under way", b"a")]).await?;
    expected.insert("under way".to_owned(), Some(b"a".to_vec()));
    disk.fill()?;
    for _ in 0..3 {
        refused(&client).await?;
    }
    let log = fs::read_to_string(system.log(Service::Coordinator))?;
    ensure!(log.matches("taking requests in").count() == 1, "not said once, but:\n{log}");
    ensure!(client.get("before").await.is_ok(), "it does not even read");
    witness.sees(&expected, None).await.context("while the disk is full")?;
    disk.make_space()?;
    // It goes on by itself.
    let again = Request::submit("refused".to_owned(), vec![client.file("after", b"there was space")?]);
    client.done(&again.acknowledged(&client).await?).await?;
    expected.insert("after".to_owned(), Some(b"there was space".to_vec()));

    // Nor does it start until there is space.
    disk.fill()?;
    system.kill(Service::Coordinator)?;
    system.spawn(Service::Coordinator)?;
    let status = system.ended(Service::Coordinator).await?;
    let log = system.log_end(Service::Coordinator);
    ensure!(status.code() == Some(1) && log.contains("is full") && log.contains("make space"), "{status}\n{log}");
    disk.make_space()?;
    system.spawn(Service::Coordinator)?;
    system.ready(Service::Coordinator).await?;
    load.stop().await?;
    expected.extend(load.settle(&client).await?);
    witness.sees(&expected, None).await.context("after there was space")
}

/// That requests would be refused is said before anybody makes one, and no longer than it is so.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_while_nobody_asks() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&dir.path().join("coordinator"))? else { return Ok(()) };
    let system = Processes::start(dir.path(), "succinct:4").await?;
    let client = system.client()?;
    client.add(&[("before", b"it was full")]).await?;
    let readyz = system.admin_url(Service::Coordinator) + "/readyz";
    let said = async || {
        let (warnings, probe) = (client.status().await?.warnings, reqwest::get(&readyz).await?);
        ensure!(probe.status() == 200, "what needs no space is answered");
        anyhow::Ok((warnings, probe.text().await?))
    };
    ensure!(said().await? == (vec![], "ok\n".to_owned()));
    // What the smallest commit needs beside what is left free: a little more than a MiB.
    disk.leave(4 * FLOOR_MIB + 1)?;
    rstuf_tests::until("it is said", async || {
        let (warnings, probe) = said().await?;
        let full = format!("disk of {} is full: make space", dir.path().join("coordinator").display());
        let says = |text: &str| text.contains("taking requests in") && text.contains(&full);
        Ok(warnings.len() == 1 && warnings[0].starts_with("error: ") && says(&warnings[0]) && says(&probe))
    })
    .await?;
    refused(&client).await?;
    disk.make_space()?;
    rstuf_tests::until("it is over", async || Ok(said().await? == (vec![], "ok\n".to_owned()))).await?;
    client.add(&[("after", b"there was space")]).await?;
    Ok(())
}

/// Also that nothing would be renewed is said before anything has to be, whichever disk is full.
#[tokio::test(flavor = "multi_thread")]
async fn that_nothing_would_be_renewed_is_said_before_it_is_due() -> anyhow::Result<()> {
    for full in ["coordinator", "published"] {
        let dir = tempfile::tempdir()?;
        let Some(disk) = SmallDisk::mount(&dir.path().join(full))? else { return Ok(()) };
        let system = Processes::start(dir.path(), "succinct:4").await?;
        let client = system.client()?;
        let said = async || {
            let warnings = client.status().await?.warnings;
            Ok(warnings.iter().any(|it| it.starts_with("error: whatever has to be renewed waits") && it.contains(full)))
        };
        // Nothing fits beside the floor.
        disk.leave(FLOOR_MIB)?;
        let written = rstuf_tests::until("it is said", said).await;
        written.with_context(|| format!("the disk of {full} is full: {}", system.log_end(Service::Coordinator)))?;
        disk.make_space()?;
        rstuf_tests::until("it is over", async || Ok(client.status().await?.warnings.is_empty())).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_a_signer_or_of_the_published_files_only_delays() -> anyhow::Result<()> {
    for full in ["published", "targets", "snapshot", "timestamp"] {
        let dir = tempfile::tempdir()?;
        let Some(disk) = SmallDisk::mount(&dir.path().join(full))? else { return Ok(()) };
        let delayed = delayed(dir.path(), &disk).await;
        delayed.with_context(|| format!("the disk of {full} is full"))?;
    }
    Ok(())
}

async fn delayed(dir: &Path, disk: &SmallDisk) -> anyhow::Result<()> {
    let mut system = Processes::start(dir, "succinct:4").await?;
    let client = system.client()?;
    let mut expected = Expected::new();
    let witness = Witness::new(dir, &system.root_bytes()?).await?;
    disk.fill()?;
    let task = client.submit(vec![client.file("delayed", b"but not lost")?]).await?;
    let waits = || {
        let said = fs::read_to_string(system.log(Service::Coordinator)).unwrap_or_default();
        ["is full", "no storage space"].iter().any(|reason| said.contains(reason))
    };
    let said = rstuf_tests::until("the coordinator says why it waits", async || Ok(waits())).await;
    said.with_context(|| system.log_end(Service::Coordinator))?;
    witness.sees(&expected, None).await.context("while it is full")?;
    system.kill(Service::Coordinator)?;
    disk.make_space()?;
    system.spawn(Service::Coordinator)?;
    system.ready(Service::Coordinator).await?;
    client.done(&task).await?;
    expected.insert("delayed".to_owned(), Some(b"but not lost".to_vec()));
    witness.sees(&expected, None).await.context("after there was space")
}

/// Where space runs out requests are refused first, then changes wait, and what keeps clients going goes on: of bins
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_out_of_space_stops_in_order() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(dir.path())? else { return Ok(()) };
    let start = "2031-02-27T12:34:56Z".parse()?;
    let trap = Trap::default();
    let builder = TestRepo::builder().layout("succinct:4").dir(dir.path()).manual_clock(start);
    let mut repo = builder.stop_at(trap.stop_at()).start().await?;
    let client = repo.client();
    client.add(&[("before", b"there was space")]).await?;
    let mut expected: Expected = [("before".to_owned(), Some(b"there was space".to_vec()))].into();
    let witness = Witness::new(dir.path(), &repo.root_bytes()?).await?;

    // What is acknowledged is published where nothing further is taken in.
    trap.arm(Effect::PlanBatch, Moment::Before);
    let request = Request::submit("acknowledged".to_owned(), vec![client.file("acknowledged", b"in time")?]);
    request.send(&client).await?;
    repo.failure().await?;
    disk.leave(3 * FLOOR_MIB)?;
    repo.start().await?;
    let task = request.acknowledged(&repo.client()).await?;
    repo.client().done(&task).await?;
    expected.insert("acknowledged".to_owned(), Some(b"in time".to_vec()));
    refused(&repo.client()).await?;
    witness.sees(&expected, Some(repo.clock().now())).await.context("where nothing is taken in")?;

    // Where changes wait, everything is renewed.
    disk.make_space()?;
    trap.arm(Effect::PlanBatch, Moment::Before);
    let client = repo.client();
    let request = Request::submit("waits".to_owned(), vec![client.file("waits", b"for space")?]);
    request.send(&client).await?;
    repo.failure().await?;
    disk.leave(3 * FLOOR_MIB / 2)?;
    repo.start().await?;
    let task = request.acknowledged(&repo.client()).await?;
    let bins = || repo.client();
    let oldest_bin = async || {
        let roles = bins().status().await?.roles;
        let bins = roles.iter().filter(|role| role.role.starts_with("bins-"));
        anyhow::Ok(bins.map(|role| role.version).min().unwrap_or_default())
    };
    let before = oldest_bin().await?;
    for _ in 0..64 {
        repo.manual().advance(Duration::from_secs(12 * 3_600));
        let now = repo.clock().now();
        rstuf_tests::until("everything is fresh", async || {
            let roles = bins().status().await?.roles;
            Ok(roles.iter().all(|role| role.expires_at.is_some_and(|it| it.seconds > now.as_second() + 3_600)))
        })
        .await?;
    }
    ensure!(oldest_bin().await? > before, "bins were not renewed");
    let status = repo.client().status().await?;
    ensure!(status.warnings.iter().any(|it| it.contains("disk")), "{:?}", status.warnings);
    witness.sees(&expected, Some(repo.clock().now())).await.context("where changes wait")?;
    disk.make_space()?;
    repo.client().done(&task).await?;
    expected.insert("waits".to_owned(), Some(b"for space".to_vec()));
    witness.sees(&expected, Some(repo.clock().now())).await.context("after there was space")
}

/// A batch that was planned while there was space, and is too large for what is left when it is asked for, keeps no bin
/// from being renewed, and is published when there is space again.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_finds_no_space_gives_way_to_renewals() -> anyhow::Result<()> {
    /// More bytes of changes than are kept in memory.
    const CHANGES: usize = 24_000;
    let dir = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount_of(dir.path(), 1_024)? else { return Ok(()) };
    let start = "2031-02-27T12:34:56Z".parse()?;
    let trap = Trap::default();
    let builder = TestRepo::builder().layout("succinct:4").dir(dir.path()).manual_clock(start);
    let mut repo = builder.stop_at(trap.stop_at()).start().await?;
    let client = repo.client();
    client.add(&[("before", b"there was space")]).await?;
    let expected: Expected = [("before".to_owned(), Some(b"there was space".to_vec()))].into();
    let witness = Witness::new(dir.path(), &repo.root_bytes()?).await?;
    let long = "long/".repeat(180);
    let changes: Vec<_> = (0..CHANGES).map(|number| removal(&format!("{long}{number}"))).collect();
    trap.arm(Effect::SignTargets, Moment::Before);
    let request = Request::import("large", changes.chunks(2_000).map(<[_]>::to_vec).collect());
    let sent = request.send(&client).await?;
    repo.failure().await?;
    disk.leave(FLOOR_MIB + 12)?;
    repo.start().await?;
    let task = sent.context("it was not acknowledged")?;
    for _ in 0..64 {
        repo.manual().advance(Duration::from_secs(12 * 3_600));
        let now = repo.clock().now();
        rstuf_tests::until("everything is fresh", async || {
            let roles = repo.client().status().await?.roles;
            Ok(roles.iter().all(|role| role.expires_at.is_some_and(|it| it.seconds > now.as_second() + 3_600)))
        })
        .await?;
    }
    witness.sees(&expected, Some(repo.clock().now())).await.context("where the batch waits")?;
    disk.make_space()?;
    let done = repo.client().done(&task).await?;
    ensure!(done.counts.is_some_and(|counts| counts.not_found == CHANGES as u64), "{done:?}");
    repo.stop().await
}

async fn refused(client: &rstuf_tests::Client) -> anyhow::Result<()> {
    let changes = vec![client.file("after", b"there was space")?];
    let Request::Submit(request) = Request::submit("refused".to_owned(), changes) else { unreachable!() };
    let Err(status) = client.artifacts().submit_artifacts(request).await else {
        anyhow::bail!("a submission was taken in, though the disk is full");
    };
    ensure!(status.code() == Code::ResourceExhausted && status.message().contains("disk"), "{status:?}");
    Ok(())
}
