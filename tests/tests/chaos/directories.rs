//! State directories that are taken, foreign or damaged.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;
use rstuf_tests::processes::{Processes, Service};

/// Runs a command that must fail at once, with exit code 1, and say this.
fn fails(command: &mut Command, says: &[&str]) -> anyhow::Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{command:?}: {}\n{said}", output.status);
    for word in says {
        ensure!(said.contains(word), "{command:?} does not say {word:?}:\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_has_one_process_at_a_time() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let system = Processes::start(dir.path(), "succinct:4").await?;
    for service in [Service::Targets, Service::Snapshot, Service::Timestamp, Service::Coordinator] {
        let state = dir.path().join(service.name());
        fails(&mut system.twin(service)?, &["in use by another process", &state.display().to_string()])?;
    }
    // A coordinator with a state of its own may not publish there either: both would use up each other's versions.
    let mut second = system.binary(Service::Coordinator);
    second.arg("--state-dir").arg(dir.path().join("second")).arg("--published-dir").arg(dir.path().join("published"));
    second.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    second.args(Service::SIGNERS.map(|signer| format!("--{}-signer={}", signer.name(), system.url(signer))));
    let holder = dir.path().join("coordinator").display().to_string();
    fails(&mut second, &["is published to by another coordinator", "process ", &holder])?;
    system.client()?.add(&[("a", b"b")]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_does_not_fit_is_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    for service in Service::ALL {
        system.terminate(service).await?;
    }
    let state = |service: Service| dir.path().join(service.name());
    // Another service's, another repository's.
    let mut other = system.binary(Service::Snapshot);
    other.arg("--state-dir").arg(state(Service::Targets)).args([
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    fails(&mut other, &["kind", "targets", "snapshot"])?;
    let mut other_root = system.command(Service::Targets);
    other_root.args(["--root-sha256", &"0".repeat(64)]);
    fails(&mut other_root, &["root", &"0".repeat(64)])?;
    for service in [Service::Targets, Service::Coordinator] {
        // Damaged, of a newer release, no directory at all.
        let (format, whole) = (state(service).join("format.json"), fs::read(state(service).join("format.json"))?);
        fs::write(&format, &whole[..whole.len() / 2])?;
        fails(&mut system.command(service), &["corrupt", "restore it from a backup"])?;
        let this = format!("\"format\":{}", rstuf_store::FORMAT_VERSION);
        let newer = String::from_utf8(whole.clone())?.replace(&this, "\"format\":99");
        fs::write(&format, newer)?;
        fails(&mut system.command(service), &["format 99", "use the newer release"])?;
        fs::write(&format, whole)?;
        let moved = dir.path().join("moved");
        fs::rename(state(service), &moved)?;
        fs::write(state(service), b"a file")?;
        fails(&mut system.command(service), &[&state(service).display().to_string()])?;
        fs::remove_file(state(service))?;
        fs::rename(&moved, state(service))?;
    }
    // A lost one must not become a stranger silently.
    let moved = dir.path().join("moved");
    fs::rename(state(Service::Targets), &moved)?;
    fails(&mut system.command(Service::Targets), &["create-key"])?;
    fs::remove_dir_all(state(Service::Targets))?;
    fs::rename(&moved, state(Service::Targets))?;
    // Nothing of that did harm.
    system.spawn_all()?;
    system.all_ready().await?;
    system.client()?.add(&[("a", b"b")]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn signers_of_another_repository_are_refused() -> anyhow::Result<()> {
    let (dir, other_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let other = Processes::start(other_dir.path(), "succinct:4").await?;
    other.client()?.add(&[("a", b"b")]).await?;
    system.kill(Service::Coordinator)?;
    let mut crossed = system.binary(Service::Coordinator);
    crossed.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    crossed.arg("--state-dir").arg(dir.path().join("coordinator"));
    crossed.arg("--published-dir").arg(dir.path().join("published"));
    for signer in Service::SIGNERS {
        crossed.args([format!("--{}-signer", signer.name()), other.url(signer)]);
    }
    let published = listing(&system.metadata_dir())?;
    fails(&mut crossed, &["signer", "repository"])?;
    ensure!(listing(&system.metadata_dir())? == published, "it changed what is published");
    system.spawn(Service::Coordinator)?;
    system.ready(Service::Coordinator).await?;
    system.client()?.add(&[("a", b"b")]).await?;
    Ok(())
}

fn listing(dir: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    Ok(fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}
