//! How processes end.

use std::{collections::BTreeSet, fs};

use anyhow::ensure;
use rstuf_tests::processes::{Processes, Service};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_each_of_five_processes_with_0() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:16").await?;
    system.client()?.add(&[("a/b", b"c")]).await?;
    // The signers first, so that the coordinator has to end in the middle of its attempts.
    let task = {
        system.terminate(Service::Targets).await?;
        let client = system.client()?;
        client.submit(vec![client.file("late", b"late")?]).await?
    };
    let metrics = format!("{}/metrics", system.admin_url(Service::Coordinator));
    let metrics = async || anyhow::Ok(reqwest::get(&metrics).await?.text().await?);
    rstuf_tests::until(
        "metrics say that the targets signer is away, and for how long a submission waits",
        async || {
            let text = metrics().await?;
            let waits = text.lines().find_map(|line| line.strip_prefix("rstuf_oldest_submission_seconds{"));
            let waits = waits.and_then(|line| line.rsplit(' ').next()).is_some_and(|seconds| seconds != "0");
            let away = text.lines().any(|line| line.contains("group=\"targets\"") && line.ends_with(" 0"));
            Ok(waits && away)
        },
    )
    .await?;
    let text = metrics().await?;
    let is_zero = |start| text.lines().find(|line| line.starts_with(start)).map(|line| line.ends_with(" 0"));
    ensure!(is_zero("rstuf_submissions_held{") == Some(true), "{text}");
    ensure!(is_zero("rstuf_store_commit_seconds_count{") == Some(false), "{text}");
    for service in [Service::Snapshot, Service::Timestamp, Service::Coordinator, Service::Mirror] {
        let status = system.terminate(service).await?;
        ensure!(status.code() == Some(0), "{}: {status}\n{}", service.name(), system.log_end(service));
    }
    system.spawn_all()?;
    system.all_ready().await?;
    system.client()?.done(&task).await?;
    // What was accepted left one line each; what was in the way, one for each kind of it, however often it was tried.
    let log = fs::read_to_string(system.log(Service::Coordinator))?;
    let accepted: Vec<&str> = log.lines().filter(|line| line.contains("accepted")).collect();
    let tells = |line: &&str, path: &str| ["127.0.0.1:", "adds", path].iter().all(|part| line.contains(part));
    ensure!(accepted.len() == 2 && tells(&accepted[0], "a/b") && tells(&accepted[1], "late"), "{accepted:#?}");
    let waits: Vec<&str> = log.lines().filter(|line| line.contains("work waits")).collect();
    let distinct: BTreeSet<&str> = waits.iter().filter_map(|line| line.split("WARN").nth(1)).collect();
    ensure!(!waits.is_empty() && waits.len() == distinct.len(), "{waits:#?}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_78_and_lists_every_mistake() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let system = Processes::new(dir.path(), "flat").await?;
    let file = dir.path().join("wrong.toml");
    fs::write(&file, "listen = \"nowhere\"\nadmin_listen = 7\nno_such_key = true\nlog_format = \"verse\"\n")?;
    for service in Service::ALL {
        let required = if service == Service::Mirror { "published_dir" } else { "state_dir" };
        for check in [&["config", "check"][..], &[]] {
            let output = system.binary(service).args(check).arg("--config").arg(&file).output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code() == Some(78), "{}: {}\n{said}", service.name(), output.status);
            for mistake in ["listen", "admin_listen", "no_such_key", "log_format", required] {
                ensure!(said.contains(mistake), "{} does not name {mistake}:\n{said}", service.name());
            }
        }
        // Not what is wrong with the file, but that there is none.
        let output = system.binary(service).args(["--config", "/no/such/file.toml"]).output()?;
        ensure!(output.status.code() == Some(78), "{}: {}", service.name(), output.status);
        let output = system.binary(service).arg("--no-such-flag").output()?;
        ensure!(output.status.code() == Some(2), "{}: {}", service.name(), output.status);
    }
    Ok(())
}
