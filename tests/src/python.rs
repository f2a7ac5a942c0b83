//! Judges a repository as python-tuf's client sees it, and runs other Python.
//!
//! The packages that `python/requirements.txt` names are installed into a virtual environment in the target directory,
//! once. Where there is no Python, all of it is skipped with a loud word, but never in CI.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    sync::Mutex,
};

pub use crate::installed::run;
use crate::{Expected, installed};

/// The packages, pinned.
const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// A python-tuf client that keeps its state from one check to the next, in a process of its own.
pub struct Judge {
    state_dir: PathBuf,
    process: Mutex<Option<Process>>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Judge {
    /// A client with its state in a directory of its own, that trusts `root` (the bytes of the first root) from the
    /// start.
    ///
    /// # Errors
    /// Where the directory can't be written.
    pub fn new(state_dir: impl AsRef<Path>, root: &[u8]) -> anyhow::Result<Self> {
        let state_dir = state_dir.as_ref().to_owned();
        fs::create_dir_all(&state_dir)?;
        fs::write(state_dir.join("trusted.json"), root)?;
        Ok(Self { state_dir, process: Mutex::new(None) })
    }

    /// Updates, and looks for what is expected, bytes and all; `now` is the time that the client believes it is, the
    /// system's unless given. Does nothing, loudly, where there is no Python.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self, mirror_url: &str, expected: &Expected, now: Option<Timestamp>) -> anyhow::Result<()> {
        let digest = |bytes: &Vec<u8>| serde_json::json!([bytes.len(), hex::encode(Sha256::digest(bytes))]);
        let expected: serde_json::Map<_, _> = expected
            .iter()
            .map(|(path, bytes)| (path.clone(), bytes.as_ref().map_or(serde_json::Value::Null, digest)))
            .collect();
        let request = serde_json::json!({
            "metadata_url": format!("{mirror_url}/metadata/"),
            "targets_url": format!("{mirror_url}/targets/"),
            "state_dir": self.state_dir,
            "root": self.state_dir.join("trusted.json"),
            "now": now.map(|now| now.to_string()),
            "expected": expected,
        });
        let mut slot = self.process.lock().await;
        if slot.is_none() {
            let Some(python) = environment().await? else { return Ok(()) };
            *slot = Some(Process::start(&python)?);
        }
        let Some(process) = slot.as_mut() else { return Ok(()) };
        let answer = crate::within("python-tuf's verdict", process.ask(&request)).await??;
        let error = answer["error"].as_str();
        ensure!(error.is_none(), "python-tuf: {}", error.unwrap_or_default());
        Ok(())
    }
}

impl Process {
    fn start(python: &Path) -> anyhow::Result<Self> {
        let mut child = tokio::process::Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python/judge.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("can't start the judge")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, input, output })
    }

    async fn ask(&mut self, request: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
        self.input.write_all(format!("{request}\n").as_bytes()).await.context("the judge is gone")?;
        match self.output.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => anyhow::bail!("the judge ended: {}", self.child.wait().await?),
        }
    }
}

/// The Python with the packages installed; none, said loudly, where there is no Python at all.
///
/// # Errors
/// Where the packages can't be installed, or in CI there is no Python.
pub async fn environment() -> anyhow::Result<Option<PathBuf>> {
    tokio::task::spawn_blocking(install).await?
}

fn install() -> anyhow::Result<Option<PathBuf>> {
    let missing = "so python-tuf DOES NOT judge this repository";
    let Some(version) = installed::version("python3", missing)? else { return Ok(None) };
    let folder = installed::once("python-venv", &[REQUIREMENTS.as_bytes(), &version], |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/requirements.txt");
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        run(Command::new(folder.join("bin/python")).args(quiet).arg(requirements)).map(drop)
    })?;
    Ok(Some(folder.join("bin/python")))
}
