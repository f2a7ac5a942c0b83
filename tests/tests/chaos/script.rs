//! `deploy/run-local.sh`: five processes from the sample configurations, and the ceremony with the operator's command.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rstuf_tests::{Expected, processes, python};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Witness;

const PORTS: [u16; 10] = [50051, 50052, 50053, 50054, 8080, 9101, 9102, 9103, 9104, 9105];

/// What to add to every default port so that all are free.
fn port_offset() -> anyhow::Result<u16> {
    let free = |offset: &u16| PORTS.iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset)).is_ok());
    // Above the range from which outgoing connections take theirs.
    let mut random = rand::rng();
    (0..1_000).map(|_| random.random_range(11_000..15_000)).find(free).context("no free ports")
}

/// The script, running; told to stop when dropped.
struct Script {
    child: Child,
}

impl Script {
    /// Starts it and waits until it says that it is done; what it complains of is in `data` + `.log`.
    fn start(data: &Path, binaries: &Path, offset: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(processes::checkout().join("deploy/run-local.sh"));
        command.arg("--data").arg(data).arg("--bin-dir").arg(binaries);
        command.args(["--port-offset", &offset.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::options().create(true).append(true).open(data.with_extension("log"))?);
        let mut child = command.spawn()?;
        let said = BufReader::new(child.stdout.take().context("no output")?);
        let script = Self { child };
        let mut lines = said.lines().map_while(Result::ok);
        ensure!(
            lines.any(|line| line.contains("Ctrl-C stops everything")),
            "it ended before the repository was running"
        );
        // It goes on writing a word at its end, and must not find the pipe closed.
        std::thread::spawn(move || lines.count());
        Ok(script)
    }

    fn stop(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let id = Pid::from_raw(self.child.id().cast_signed()).context("no process id")?;
        kill_process(id, Signal::TERM)?;
        Ok(self.child.wait()?)
    }

    /// Kills the service of this name.
    fn kill(&self, service: &str) -> anyhow::Result<()> {
        for process in fs::read_dir("/proc")?.flatten() {
            // Those that end meanwhile, and what is no process, have no such file.
            let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
            let Some((id, rest)) = stat.split_once(&format!(" ({service}) ")) else { continue };
            if rest.split(' ').nth(1) == Some(&self.child.id().to_string()) {
                return Ok(kill_process(Pid::from_raw(id.parse()?).context("no process id")?, Signal::KILL)?);
            }
        }
        anyhow::bail!("the script runs no {service}")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Where the test failed; else it has ended already.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_script_starts_five_processes_and_starts_them_again() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (data, binaries, offset) = (dir.path().join("data"), processes::binaries().await?, port_offset()?);
    let (server, mirror) =
        (format!("http://127.0.0.1:{}", 50051 + offset), format!("http://127.0.0.1:{}", 8080 + offset));
    let artifact = dir.path().join("artifact.txt");
    fs::write(&artifact, b"first")?;
    let mut script = Script::start(&data, &binaries, offset)?;
    let witness = Witness::new(&data, &fs::read(data.join("1.root.json"))?).await?;
    // As the script teaches it.
    let add = |artifact: &Path| {
        let mut command = Command::new(binaries.join("rstuf"));
        command.args(["--server", &server, "artifact", "add", "--artifacts-dir"]).arg(data.join("artifacts"));
        python::run(command.arg(artifact))
    };
    add(&artifact)?;
    let expected: Expected = [("artifact.txt".to_owned(), Some(b"first".to_vec()))].into();
    witness.sees_at(&mirror, &expected).await?;
    ensure!(script.stop()?.code() == Some(0));

    let root = fs::read(data.join("1.root.json"))?;
    let mut script = Script::start(&data, &binaries, offset)?;
    ensure!(fs::read(data.join("1.root.json"))? == root, "another ceremony");
    fs::write(&artifact, b"second")?;
    add(&artifact)?;
    let expected: Expected = [("artifact.txt".to_owned(), Some(b"second".to_vec()))].into();
    witness.sees_at(&mirror, &expected).await?;
    ensure!(script.stop()?.code() == Some(0));

    let mut script = Script::start(&data, &binaries, offset)?;
    script.kill("rstuf-timestamp")?;
    ensure!(script.child.wait()?.code() == Some(1), "a service died");
    let said = fs::read_to_string(data.with_extension("log"))?;
    let died = "run-local.sh: rstuf-timestamp was ended by signal 9 (SIGKILL), so all are stopped; the end of ";
    ensure!(said.contains(died), "{said}");
    ensure!(!said.contains(": line "), "the shell speaks of its jobs: {said}");
    Ok(())
}
