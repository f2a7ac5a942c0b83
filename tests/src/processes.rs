//! The system as five real processes, started from the sample configurations, which a test may kill and start again.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rstuf_runtime::Clock;
use rstuf_standalone::{Options, hold_ceremony};
use tokio::sync::OnceCell;

use crate::Client;

/// One of the five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `rstuf-targets`
    Targets,
    /// `rstuf-snapshot`
    Snapshot,
    /// `rstuf-timestamp`
    Timestamp,
    /// `rstuf-coordinator`
    Coordinator,
    /// `rstuf-mirror`
    Mirror,
}

impl Service {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Targets, Self::Snapshot, Self::Timestamp, Self::Coordinator, Self::Mirror];
    /// Those that hold a key.
    pub const SIGNERS: [Self; 3] = [Self::Targets, Self::Snapshot, Self::Timestamp];

    /// Its name, as in `rstuf-NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
            Self::Coordinator => "coordinator",
            Self::Mirror => "mirror",
        }
    }
}

/// The directory of this repository's checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds every binary of the workspace, as it is now, and answers the directory that they are in.
///
/// # Errors
/// What cargo says.
pub async fn binaries() -> anyhow::Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(async || tokio::task::spawn_blocking(build).await?).await.cloned()
}

fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // `--examples`, of which there are none, selects the features of tests, as `cargo test` does: with others, half of
    // the dependencies would be compiled once more.
    cargo.args([
        "build",
        "--locked",
        "--workspace",
        "--bins",
        "--examples",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        // The benchmark: services as they are deployed.
        cargo.arg("--release");
    }
    let output = cargo.current_dir(checkout()).stderr(Stdio::inherit()).output().context("can't run cargo")?;
    ensure!(output.status.success(), "cargo could not build the binaries");
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    let coordinator = executables.find(|path| path.file_name().is_some_and(|name| name == "rstuf-coordinator"));
    let folder = coordinator.as_deref().and_then(Path::parent).context("cargo built no rstuf-coordinator")?;
    Ok(folder.to_owned())
}

/// Below the range from which systems pick ports of outgoing connections, which would take one while its service is
/// down.
const PORTS: Range<u16> = 10_000..30_000;

/// One of `PORTS` at which nobody listens, and which this process was not given before.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> anyhow::Result<u16> {
    // How many were looked at, and where the first was.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static FIRST: OnceLock<usize> = OnceLock::new();
    let first = *FIRST.get_or_init(|| rand::rng().random_range(0..PORTS.len()));
    // Never the same twice: whoever got it may not have opened it yet, or again.
    let ports = (0..PORTS.len()).map(|_| first + ASKED.fetch_add(1, Ordering::Relaxed));
    let mut ports = ports.filter_map(|port| PORTS.clone().nth(port % PORTS.len()));
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no free port")
}

/// Five processes with everything they keep under one directory; killed when dropped.
///
/// ```text
/// DIR/coordinator/, DIR/targets/, ...   state directories
/// DIR/published/, DIR/artifacts/        what the mirror serves
/// DIR/logs/                             what each said, over all of its lives
/// ```
pub struct Processes {
    options: Options,
    binaries: PathBuf,
    ports: BTreeMap<Service, [u16; 2]>,
    running: BTreeMap<Service, Child>,
    /// Given to each signer besides.
    signer_args: Vec<String>,
}

impl Processes {
    /// Five services on free ports, none of them running. `layout` is that of the ceremony.
    ///
    /// # Errors
    /// What cargo says of the binaries.
    pub async fn new(dir: &Path, layout: &str) -> anyhow::Result<Self> {
        let mut options = Options::new(dir);
        options.layout = layout.parse()?;
        for folder in ["logs", "published", "artifacts"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let mut ports = BTreeMap::new();
        for service in Service::ALL {
            ports.insert(service, [free_port()?, free_port()?]);
        }
        Ok(Self { options, binaries: binaries().await?, ports, running: BTreeMap::new(), signer_args: Vec::new() })
    }

    /// As [`Processes::new`], all running, the ceremony held.
    ///
    /// # Errors
    /// What goes wrong, with the logs.
    pub async fn start(dir: &Path, layout: &str) -> anyhow::Result<Self> {
        Self::start_with(dir, layout, &[]).await
    }

    /// As [`Processes::start`], with further arguments for each signer.
    ///
    /// # Errors
    /// What goes wrong, with the logs.
    pub async fn start_with(dir: &Path, layout: &str, signer_args: &[&str]) -> anyhow::Result<Self> {
        let mut processes = Self::new(dir, layout).await?;
        processes.signer_args = signer_args.iter().map(ToString::to_string).collect();
        processes.spawn_all()?;
        processes.ready_for_ceremony().await?;
        processes.hold_ceremony().await?;
        processes.all_ready().await?;
        Ok(processes)
    }

    /// Holds the ceremony, or goes on with one that broke.
    ///
    /// # Errors
    /// What the coordinator says.
    pub async fn hold_ceremony(&self) -> anyhow::Result<()> {
        let url = self.coordinator_url();
        crate::within("the ceremony", hold_ceremony(&self.options, &Clock::system(), &url)).await?
    }

    /// The command line of a service: the sample configuration, and flags for what differs here.
    pub fn command(&self, service: Service) -> Command {
        self.command_at(service, self.ports[&service])
    }

    /// The command line of a second process with the same directories, at free ports.
    ///
    /// # Errors
    /// Where there are none.
    pub fn twin(&self, service: Service) -> anyhow::Result<Command> {
        Ok(self.command_at(service, [free_port()?, free_port()?]))
    }

    fn command_at(&self, service: Service, [port, admin]: [u16; 2]) -> Command {
        let name = service.name();
        let mut command = self.binary(service);
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let path = |folder: &str| self.dir().join(folder).display().to_string();
        command.arg("--config").arg(checkout().join(format!("deploy/config/{name}.toml")));
        command.args(["--listen", &local(port), "--admin-listen", &local(admin)]);
        match service {
            Service::Mirror => {
                command.args(["--artifacts-dir", &path("artifacts"), "--published-dir", &path("published")]);
            }
            Service::Coordinator => {
                command.args(["--state-dir", &path(name), "--published-dir", &path("published")]);
                for signer in Service::SIGNERS {
                    command.args([format!("--{}-signer", signer.name()), self.url(signer)]);
                }
            }
            Service::Targets | Service::Snapshot | Service::Timestamp => {
                command.args(["--state-dir", &path(name)]).args(&self.signer_args);
                // As an operator does it: at the first start only.
                if !self.metadata_dir().join("1.root.json").exists() {
                    command.arg("--create-key");
                }
            }
        }
        command
    }

    /// The binary of a service, without any arguments.
    pub fn binary(&self, service: Service) -> Command {
        Command::new(self.binaries.join(format!("rstuf-{}", service.name())))
    }

    /// Starts a service; does not wait for it.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn spawn(&mut self, service: Service) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log(service))?;
        let mut command = self.command(service);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("can't run {command:?}"))?;
        self.running.insert(service, child);
        Ok(())
    }

    /// Starts what does not run.
    ///
    /// # Errors
    /// As [`Processes::spawn`].
    pub fn spawn_all(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL {
            if !self.running.contains_key(&service) {
                self.spawn(service)?;
            }
        }
        Ok(())
    }

    /// Waits until a service says on its admin port that it is ready.
    ///
    /// # Errors
    /// When it ended, or is not within the deadline: with the end of its log.
    pub async fn ready(&mut self, service: Service) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.admin_url(service));
        let running = &mut self.running;
        let what = format!("rstuf-{} is ready", service.name());
        let ready = crate::until(&what, async || {
            if let Some(status) = running.get_mut(&service).context("it was not started")?.try_wait()? {
                anyhow::bail!("rstuf-{} ended: {status}", service.name());
            }
            Ok(reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()))
        });
        let ready = ready.await;
        ready.with_context(|| format!("the end of its log:\n{}", self.log_end(service)))
    }

    /// Waits until all are ready but the mirror, which has nothing to serve yet.
    ///
    /// # Errors
    /// As [`Processes::ready`].
    pub async fn ready_for_ceremony(&mut self) -> anyhow::Result<()> {
        for service in [Service::Targets, Service::Snapshot, Service::Timestamp, Service::Coordinator] {
            self.ready(service).await?;
        }
        Ok(())
    }

    /// Waits until all are ready.
    ///
    /// # Errors
    /// As [`Processes::ready`].
    pub async fn all_ready(&mut self) -> anyhow::Result<()> {
        for service in Service::ALL {
            self.ready(service).await?;
        }
        Ok(())
    }

    /// Its process id, if it runs.
    pub fn id(&self, service: Service) -> Option<u32> {
        self.running.get(&service).map(Child::id)
    }

    /// kill -9.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill(&mut self, service: Service) -> anyhow::Result<()> {
        let mut child = self.running.remove(&service).context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM; answers how it ended.
    ///
    /// # Errors
    /// Where it does not run, or goes on running.
    pub async fn terminate(&mut self, service: Service) -> anyhow::Result<ExitStatus> {
        let child = self.running.get(&service).context("it does not run")?;
        let id = rustix::process::Pid::from_raw(child.id().cast_signed()).context("no process id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        self.ended(service).await
    }

    /// Waits until a service has ended by itself.
    ///
    /// # Errors
    /// Where it does not run, or goes on running.
    pub async fn ended(&mut self, service: Service) -> anyhow::Result<ExitStatus> {
        let mut child = self.running.remove(&service).context("it does not run")?;
        let mut status = None;
        let what = format!("rstuf-{} ends", service.name());
        let ended = crate::until(&what, async || {
            status = child.try_wait()?;
            Ok(status.is_some())
        });
        if let Err(error) = ended.await {
            // It must not outlive the test.
            child.kill()?;
            return Err(error);
        }
        status.context("it goes on")
    }

    /// A build system that talks to the coordinator.
    ///
    /// # Errors
    /// Never: the URL is ours.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.coordinator_url(), self.options.artifacts_dir())
    }

    /// Of the coordinator, `http://HOST:PORT`.
    pub fn coordinator_url(&self) -> String {
        self.url(Service::Coordinator)
    }

    /// Of the mirror, `http://HOST:PORT`.
    pub fn mirror_url(&self) -> String {
        self.url(Service::Mirror)
    }

    /// Where a service answers, `http://HOST:PORT`; the same in all of its lives.
    pub fn url(&self, service: Service) -> String {
        format!("http://{}", self.address(service))
    }

    /// Its admin port, `http://HOST:PORT`.
    pub fn admin_url(&self, service: Service) -> String {
        format!("http://127.0.0.1:{}", self.ports[&service][1])
    }

    /// Where everything is kept.
    pub fn dir(&self) -> &Path {
        &self.options.data_dir
    }

    /// Where the published metadata is.
    pub fn metadata_dir(&self) -> PathBuf {
        self.dir().join("published/metadata")
    }

    /// The first root: what clients trust from the start.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn root_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let file = self.metadata_dir().join("1.root.json");
        fs::read(&file).with_context(|| format!("can't read {}", file.display()))
    }

    /// Where a service's words are kept.
    pub fn log(&self, service: Service) -> PathBuf {
        self.dir().join(format!("logs/{}.log", service.name()))
    }

    /// The last lines of a service's log.
    pub fn log_end(&self, service: Service) -> String {
        let log = fs::read_to_string(self.log(service)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn address(&self, service: Service) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[&service][0]))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended by itself; what counts is that none outlives the test.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
