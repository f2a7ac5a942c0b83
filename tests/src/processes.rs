//! The system as five real processes, started from the sample configurations, which a test may kill and start again.

mod binaries;
mod ports;
mod service;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rstuf_runtime::Clock;
use rstuf_standalone::{Options, hold_ceremony};

pub use self::{
    binaries::{binaries, checkout},
    ports::free_port,
    service::Service,
};
use crate::Client;

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
        processes.begin().await?;
        Ok(processes)
    }

    /// As [`Processes::start`], for signers that are away for long, by another clock than theirs: they sign what lives
    /// for sixty days, and snapshots live for `snapshot_lifetime`.
    ///
    /// # Errors
    /// What goes wrong, with the logs.
    pub async fn start_for_long(dir: &Path, layout: &str, snapshot_lifetime: Duration) -> anyhow::Result<Self> {
        let mut processes = Self::new(dir, layout).await?;
        processes.options.snapshot_lifetime = snapshot_lifetime;
        processes.signer_args = vec!["--lifetime-days-max=60".to_owned()];
        processes.begin().await?;
        Ok(processes)
    }

    /// Starts all, and holds the ceremony.
    ///
    /// # Errors
    /// What goes wrong, with the logs.
    async fn begin(&mut self) -> anyhow::Result<()> {
        self.spawn_all()?;
        self.ready_for_ceremony().await?;
        self.hold_ceremony().await?;
        self.all_ready().await
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
