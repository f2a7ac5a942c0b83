//! Clocks lie: all of a machine, that of the coordinator alone, and all of them from the very beginning.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rstuf_runtime::Clock;
use rstuf_tests::{
    Client, Expected, TestRepo,
    processes::{self, Processes, Service},
    until,
};
use rstuf_tuf::MetadataFile;

use crate::{
    absences::Ahead,
    support::{Request, Witness},
};

const HOUR: Duration = Duration::from_secs(3_600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fn content(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn files(repo: &TestRepo) -> anyhow::Result<BTreeSet<String>> {
    let names = fs::read_dir(repo.metadata_dir())?;
    names.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect()
}

/// When the newest published document of each role expires, but for the timestamp.
fn expiries(repo: &TestRepo) -> anyhow::Result<BTreeMap<String, Timestamp>> {
    let mut newest = BTreeMap::<String, (u32, Timestamp)>::new();
    for name in files(repo)? {
        let Ok(MetadataFile::Versioned { version, role }) = name.parse() else { continue };
        let document: serde_json::Value = serde_json::from_slice(&fs::read(repo.metadata_dir().join(&name))?)?;
        let expires = document["signed"]["expires"].as_str().unwrap_or_default().parse()?;
        let found = (version.get(), expires);
        newest.entry(role.to_string()).and_modify(|it| *it = found.max(*it)).or_insert(found);
    }
    Ok(newest.into_iter().map(|(role, (_, expires))| (role, expires)).collect())
}

async fn readyz(repo: &TestRepo, service: &str) -> anyhow::Result<(u16, String)> {
    let answer = reqwest::get(format!("{}/readyz", repo.admin_url(service))).await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// What status says of each signer.
async fn messages(client: &Client) -> anyhow::Result<Vec<String>> {
    Ok(client.status().await?.signers.into_iter().map(|signer| signer.message).collect())
}

/// Ten years ahead, all clocks of a running system: nothing is signed, nothing is deleted but what is old, all say so;
/// and it goes on by itself when they are right.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_ten_years_ahead_change_nothing_and_are_recovered_from() -> anyhow::Result<()> {
    let start: Timestamp = "2031-02-27T12:34:56Z".parse()?;
    let mut repo = TestRepo::builder().layout("succinct:4").manual_clock(start).start().await?;
    let client = repo.client();
    let old = client.add(&[("before", b"1")]).await?.id;
    client.add(&[("before", b"2")]).await?;
    let mut expected = Expected::from([("before".to_owned(), content("2"))]);
    let witness = Witness::new(repo.data_dir(), &repo.root_bytes()?).await?;
    witness.sees(&expected, Some(start)).await?;
    let published = files(&repo)?;

    repo.manual().set(start + YEAR * 10);
    let request = Request::submit("stuck".to_owned(), vec![client.file("stuck", b"for a while")?]);
    let stuck = request.acknowledged(&client).await?;
    until("status and readyz say what is wrong", async || {
        let signers = messages(&client).await?.iter().all(|message| message.contains("CLOCK_JUMPED"));
        let warned = client.status().await?.warnings.iter().any(|it| it.contains("the coordinator's clock jumped"));
        let (code, ready) = readyz(&repo, "coordinator").await?;
        let told = code == 503 && ready.contains("CLOCK_JUMPED") && ready.contains("the coordinator's clock jumped");
        Ok(signers && warned && told && readyz(&repo, "timestamp").await?.0 == 503)
    })
    .await?;
    ensure!(files(&repo)? == published, "nothing is deleted, nothing published");
    witness.sees(&expected, Some(start)).await?;

    // By the time since the start, what was superseded two hours ago is old.
    repo.manual().advance(HOUR * 2);
    until("what is superseded is deleted", async || Ok(!files(&repo)?.contains("2.snapshot.json"))).await?;
    repo.manual().set(start + HOUR * 2);
    client.done(&stuck).await?;
    expected.insert("stuck".to_owned(), content("for a while"));
    witness.sees(&expected, Some(start + HOUR * 2)).await?;
    let mut told = Vec::new();
    until("all is well", async || {
        told = messages(&client).await?;
        told.extend(client.status().await?.warnings);
        told.retain(|it| !it.is_empty());
        Ok(told.is_empty())
    })
    .await
    .with_context(|| format!("{told:?}"))?;
    ensure!(client.done(&old).await.is_ok(), "no task was forgotten");
    repo.stop().await
}

/// The coordinator's clock alone: signers refuse its expiries, so it goes on by the time since its machine started.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_ten_years_ahead_goes_on_by_the_time_since_the_start() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    system.terminate(Service::Coordinator).await?;
    let start = Clock::system().now();
    let (clock, manual) = Clock::manual(start);
    let ahead = Ahead::start(&system, clock).await?;
    until("the coordinator is up", async || Ok(ahead.client.list("").await.is_ok())).await?;
    manual.set(start + YEAR * 10);
    ahead.client.add(&[("ahead", b"of its time")]).await?;
    let expected = Expected::from([("ahead".to_owned(), content("of its time"))]);
    witness.sees(&expected, Some(start)).await?;
    for hours in [12, 24, 36] {
        manual.advance(HOUR * 12);
        until("the timestamp is renewed in time", async || {
            let roles = ahead.client.status().await?.roles;
            let expires = roles.iter().find(|it| it.role == "timestamp").and_then(|it| it.expires_at);
            let left = expires.map_or(0, |it| it.seconds) - (start + HOUR * hours).as_second();
            Ok((8 * 3_600..=24 * 3_600).contains(&left))
        })
        .await?;
        witness.sees(&expected, Some(start + HOUR * hours)).await?;
    }
    ensure!(!ahead.client.status().await?.warnings.is_empty());
    manual.set(start + HOUR * 36);
    until("it says so no more", async || {
        Ok(!ahead.client.status().await?.warnings.iter().any(|it| it.contains("clock jumped")))
    })
    .await?;
    ahead.stop().await
}

/// A repository that was made nine years ahead: when its clocks are set right, its operators reset the signers, by the
/// real command, and what expires in nine years is renewed at once. No version falls.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_made_with_wrong_clocks_is_set_right_by_its_operators() -> anyhow::Result<()> {
    let now = Clock::system().now();
    let mut repo = TestRepo::builder().layout("succinct:4").manual_clock(now + YEAR * 9).start().await?;
    repo.client().add(&[("before", b"1")]).await?;
    let mut expected = Expected::from([("before".to_owned(), content("1"))]);
    let witness = Witness::new(repo.data_dir(), &repo.root_bytes()?).await?;
    witness.sees(&expected, Some(now + YEAR * 9)).await?;
    repo.stop().await?;
    repo.manual().set(now);
    repo.start().await?;
    let client = repo.client();
    let request = Request::submit("stuck".to_owned(), vec![client.file("stuck", b"for a while")?]);
    let stuck = request.acknowledged(&client).await?;
    until("each signer says what is wrong", async || {
        Ok(messages(&client).await?.iter().all(|message| message.contains("CLOCK_WENT_BACK")))
    })
    .await?;
    let binaries = processes::binaries().await?;
    let dir = repo.data_dir().to_owned();
    let reset = |service: &str| {
        let mut command = Command::new(binaries.join(format!("rstuf-{service}")));
        command.arg("reset-clock").arg("--state-dir").arg(dir.join(service)).output()
    };
    let running = reset("timestamp")?;
    let said = String::from_utf8_lossy(&running.stderr).into_owned();
    ensure!(!running.status.success() && said.contains("in use"), "{said}");
    let before = client.status().await?.roles;
    repo.stop().await?;
    for service in ["targets", "snapshot", "timestamp"] {
        let done = reset(service)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let year = (now + YEAR * 9).strftime("%Y").to_string();
        ensure!(done.status.success() && said.contains(&format!("last signature: {year}")), "{service}: {done:?}");
        let again = String::from_utf8_lossy(&reset(service)?.stdout).into_owned();
        ensure!(!again.contains(&year), "{service}: {again}");
    }
    // The commands took a while, by the clock of this machine.
    repo.manual().set(Clock::system().now());
    repo.start().await?;
    // The signers give no version at once after a reset, and four a second from then on.
    repo.manual().advance(Duration::from_secs(60));
    let client = repo.client();
    client.done(&stuck).await.context("after the reset")?;
    expected.insert("stuck".to_owned(), content("for a while"));
    // Three of the four bins have no other reason to be signed.
    let latest = now + Duration::from_secs(41 * 24 * 3_600);
    until("what is signed online lives as long as it should", async || {
        let expiries = expiries(&repo)?;
        let online = expiries.iter().filter(|(role, _)| role.starts_with("bins-") || role.starts_with('s'));
        let online: Vec<_> = online.map(|(_, expires)| *expires).collect();
        Ok(online.len() == 5 && online.iter().all(|expires| *expires < latest))
    })
    .await?;
    for role in client.status().await?.roles {
        let old = before.iter().find(|it| it.role == role.role).map_or(0, |it| it.version);
        ensure!(role.version >= old, "{} fell from {old} to {}", role.role, role.version);
    }
    witness.sees(&expected, Some(repo.clock().now())).await?;
    repo.stop().await
}
