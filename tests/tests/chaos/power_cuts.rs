//! A power cut: every process dies at once, and the disk holds only what was made durable.
//!
//! The system that is cut runs in a process of its own, all services in it, under the library of
//! [`rstuf_store::powercut`]: this executable again, told by the environment to be that process.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstuf_runtime::{Clock, Shutdown};
use rstuf_standalone::{Options, Standalone};
use rstuf_store::powercut::{self, Shim};
use rstuf_tests::Client;
use rstuf_tuf::{Envelope, MetadataFile};
use tempfile::TempDir;

use crate::{kills::seed, load::Load, support::Witness};

const ROUNDS: u32 = 50;
/// Every so many rounds begins with nothing, and is cut during the ceremony.
const ROUNDS_OF_ONE: u32 = 10;
const SUBMITTERS: usize = 3;
/// Tells this executable that it is the system, and where its data is.
const SYSTEM: &str = "RSTUF_CHAOS_SYSTEM";

/// The system that is cut. In a run of tests there is nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn system() -> anyhow::Result<()> {
    let Some(dir) = std::env::var_os(SYSTEM) else { return Ok(()) };
    let mut options = Options::new(dir);
    options.layout = "succinct:16".parse()?;
    Standalone::start(options, Clock::system(), Shutdown::new()).await?.wait().await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_power_cuts_lose_nothing_acknowledged_and_leave_no_half_file() -> anyhow::Result<()> {
    let seed = seed()?;
    let scratch = tempfile::tempdir()?;
    let shim = Shim::build(scratch.path())?;
    let mut cuts = Cuts { shim, random: StdRng::seed_from_u64(seed), scratch, count: 0, submitted: 0, publications: 0 };
    for first in (0..ROUNDS).step_by(ROUNDS_OF_ONE as usize) {
        let rounds = cuts.one_repository().await;
        rounds.with_context(|| format!("RSTUF_CHAOS_SEED={seed}, rounds from {first}"))?;
    }
    let Cuts { submitted, publications, .. } = cuts;
    writeln!(
        std::io::stderr(),
        "{ROUNDS} power cuts, seed {seed}: {submitted} submissions in {publications} publications, none lost"
    )?;
    Ok(())
}

struct Cuts {
    shim: Shim,
    random: StdRng,
    scratch: TempDir,
    count: u32,
    submitted: u64,
    publications: u64,
}

/// The system at work under the library.
struct Powered {
    child: Child,
    dir: PathBuf,
    shadow: PathBuf,
    log: PathBuf,
}

impl Cuts {
    /// A repository from its ceremony on, cut again and again.
    async fn one_repository(&mut self) -> anyhow::Result<()> {
        let mut dir = self.fresh_dir();
        fs::create_dir(&dir)?;
        // Somewhere in the ceremony.
        let powered = self.power_on(&dir)?;
        self.pause(700).await;
        dir = self.cut(powered)?;
        let mut load = Load::new(SUBMITTERS);
        let mut witness = None;
        for round in 1..=ROUNDS_OF_ONE {
            let mut powered = self.power_on(&dir)?;
            let last = round == ROUNDS_OF_ONE;
            let worked = self.work(&mut powered, &mut load, &mut witness, last).await;
            worked.with_context(|| format!("round {round}, in {}", dir.display()))?;
            dir = self.cut(powered)?;
        }
        self.submitted += load.submitted();
        Ok(())
    }

    /// Checks what the last cut left, and unless it was the last, brings work under way.
    async fn work(
        &mut self,
        powered: &mut Powered,
        load: &mut Load,
        witness: &mut Option<Witness>,
        last: bool,
    ) -> anyhow::Result<()> {
        let (coordinator, mirror) = powered.endpoints().await?;
        let client = Client::connect(&coordinator, powered.dir.join("artifacts"))?;
        let expected = load.settle(&client).await?;
        // The bytes of artifacts come from elsewhere, so it is no loss of ours if the cut took them.
        for content in expected.values().flatten() {
            client.file("any", content)?;
        }
        if witness.is_none() {
            let root = fs::read(powered.dir.join("published/metadata/1.root.json"))?;
            *witness = Some(Witness::new(&powered.dir, &root).await?);
        }
        if let Some(witness) = witness {
            witness.sees_at(&mirror, &expected).await?;
        }
        let status = client.status().await?;
        ensure!(status.signers.iter().all(|signer| signer.message.is_empty()), "{:?}", status.signers);
        if last {
            self.publications += status.publication;
            return Ok(());
        }
        load.start(&client);
        self.pause(250).await;
        powered.child.kill()?;
        load.stop().await
    }

    fn power_on(&mut self, dir: &Path) -> anyhow::Result<Powered> {
        self.count += 1;
        let shadow = self.scratch.path().join(format!("shadow-{}", self.count));
        // It may have survived, and tells of the system before the cut.
        fs::remove_file(dir.join("endpoints.json")).unwrap_or_default();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "power_cuts::system", "--nocapture"]).env(SYSTEM, dir);
        command.envs(self.shim.environment(dir, &shadow)?);
        let log = self.scratch.path().join("log");
        let said = fs::File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn()?;
        Ok(Powered { child, dir: dir.to_owned(), shadow, log })
    }

    /// Answers the directory that holds what survived.
    fn cut(&mut self, mut powered: Powered) -> anyhow::Result<PathBuf> {
        powered.child.kill()?;
        powered.child.wait()?;
        let dir = self.fresh_dir();
        if powered.shadow.join("log").exists() {
            powercut::restore(&powered.shadow, &dir)?;
        } else {
            // Cut before the library was loaded.
            fs::create_dir(&dir)?;
        }
        check_published(&dir.join("published/metadata"))?;
        fs::remove_dir_all(&powered.dir)?;
        fs::remove_dir_all(&powered.shadow)?;
        Ok(dir)
    }

    fn fresh_dir(&mut self) -> PathBuf {
        self.count += 1;
        self.scratch.path().join(format!("disk-{}", self.count))
    }

    async fn pause(&mut self, milliseconds_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..=milliseconds_max))).await;
    }
}

impl Powered {
    /// Where coordinator and mirror answer, as soon as they do.
    async fn endpoints(&mut self) -> anyhow::Result<(String, String)> {
        let file = self.dir.join("endpoints.json");
        let mut endpoints = None;
        rstuf_tests::until("the system is up", async || {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the system ended: {status}\n{}", fs::read_to_string(&self.log)?);
            }
            endpoints = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
            Ok(endpoints.is_some())
        })
        .await?;
        let endpoints = endpoints.context("no endpoints")?;
        let url = |name: &str| endpoints[name].as_str().map(str::to_owned).context("no url");
        Ok((url("coordinator")?, url("mirror")?))
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        // It may be dead already; what counts is that it does not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file that a mirror would serve is a whole document of the version that its name says.
fn check_published(dir: &Path) -> anyhow::Result<()> {
    let Ok(files) = fs::read_dir(dir) else { return Ok(()) };
    for file in files {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
        let Ok(file) = name.parse::<MetadataFile>() else { continue };
        let bytes = fs::read(&path)?;
        let envelope = Envelope::parse(&bytes).with_context(|| format!("{name}, {} bytes", bytes.len()))?;
        if let MetadataFile::Versioned { version, .. } = file {
            ensure!(version == envelope.version(), "{name}: {}", envelope.version());
        }
    }
    Ok(())
}
