//! The five services as processes of their own, with an empty repository.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rstuf_api::proto::repository::v1 as proto;
use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_tuf::{
    Layout, PublicKey, Unsigned,
    ceremony::{self, Plan, Signers},
};

use crate::client::Client;

/// How long a service may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);
const SERVICES: [&str; 5] = ["targets", "snapshot", "timestamp", "coordinator", "mirror"];
const DAY: u64 = 24 * 3_600;

/// Five processes. They are killed when this is dropped.
pub(crate) struct System {
    processes: BTreeMap<&'static str, Process>,
    pub layout: Layout,
    pub coordinator_url: String,
    pub mirror_url: String,
    pub root: Vec<u8>,
    holder: FileKey,
    _folder: tempfile::TempDir,
}

struct Process {
    child: Child,
    admin_url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, or going: there is nothing else to be done about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Builds the services with the profile that this program was built with, and says where they are. This package is named
/// too: the dependencies then have the same features, and none of them is built twice.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let binaries = std::env::current_exe()?.parent().context("this program is in no directory")?.to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--bins", "--package", "rstuf-tests"]);
    for service in SERVICES {
        cargo.args(["--package", &format!("rstuf-{service}")]);
    }
    if binaries.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("can't run cargo to build the services")?;
    ensure!(status.success(), "cargo could not build the services");
    Ok(binaries)
}

impl System {
    /// Starts all services with fresh state under `folder`, and waits until they are ready.
    pub(crate) async fn start(binaries: &Path, folder: &Path, layout: Layout) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(folder)?;
        let ports: BTreeMap<&str, u16> = SERVICES.into_iter().zip(free_ports(SERVICES.len())?).collect();
        let url = |service: &str| format!("http://127.0.0.1:{}", ports[service]);
        let mut system = Self {
            processes: BTreeMap::new(),
            layout,
            coordinator_url: url("coordinator"),
            mirror_url: url("mirror"),
            root: Vec::new(),
            holder: FileKey::generate(&mut SysRng)?,
            _folder: folder,
        };
        for service in SERVICES {
            system.start_one(binaries, service, &ports)?;
            system.wait_ready(service).await?;
        }
        Ok(system)
    }

    fn start_one(&mut self, binaries: &Path, service: &'static str, ports: &BTreeMap<&str, u16>) -> anyhow::Result<()> {
        let folder = self._folder.path();
        let [admin] = free_ports(1)?[..] else { unreachable!("one port was asked for") };
        let mut command = Command::new(binaries.join(format!("rstuf-{service}")));
        let log = fs::File::create(folder.join(format!("{service}.log")))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env_clear();
        command.args(["--listen", &format!("127.0.0.1:{}", ports[service])]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--log-filter", "warn"]);
        if service != "mirror" {
            command.arg("--state-dir").arg(folder.join(service));
        }
        match service {
            "mirror" => {
                command.arg("--published-dir").arg(folder.join("published"));
            }
            "coordinator" => {
                command.arg("--published-dir").arg(folder.join("published"));
                for signer in ["targets", "snapshot", "timestamp"] {
                    command.arg(format!("--{signer}-signer")).arg(format!("http://127.0.0.1:{}", ports[signer]));
                }
            }
            _ => {
                command.arg("--create-key");
            }
        }
        let child = command.spawn().with_context(|| format!("can't start rstuf-{service}"))?;
        let admin_url = format!("http://127.0.0.1:{admin}");
        self.processes.insert(service, Process { child, admin_url });
        Ok(())
    }

    async fn wait_ready(&mut self, service: &'static str) -> anyhow::Result<()> {
        let started = Instant::now();
        let process = self.processes.get_mut(service).context("not started")?;
        // The first ceremony needs the coordinator's interface, which may be there before it calls itself ready.
        let url = format!("{}/livez", process.admin_url);
        loop {
            if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let ended = process.child.try_wait()?;
            if ended.is_some() || started.elapsed() > READY_DEADLINE {
                let log = fs::read_to_string(self._folder.path().join(format!("{service}.log"))).unwrap_or_default();
                anyhow::bail!("rstuf-{service} does not get ready: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Holds the ceremony; answers when the first publication is visible, with the time since the call.
    pub(crate) async fn bootstrap(&mut self, client: &Client) -> anyhow::Result<Duration> {
        let signers = client.signers().await?;
        let plan = Plan {
            layout: self.layout,
            holders: Signers::one(self.holder.public_key().clone()),
            targets: Signers::one(public_key(&signers, "targets")?),
            snapshot: Signers::one(public_key(&signers, "snapshot")?),
            timestamp: Signers::one(public_key(&signers, "timestamp")?),
        };
        let expires = jiff::Timestamp::now().checked_add(Duration::from_secs(365 * DAY))?;
        self.root = self.sign(&Unsigned::new(&ceremony::first_root(&plan, expires)?)?)?;
        let targets = match ceremony::first_targets(&plan, expires)? {
            Some(targets) => self.sign(&Unsigned::new(&targets)?)?,
            None => Vec::new(),
        };
        let request = proto::BootstrapRequest {
            root: self.root.clone().into(),
            targets: targets.into(),
            layout: self.layout.to_string(),
            lifetimes: Some(proto::Lifetimes {
                bins_seconds: 30 * DAY,
                snapshot_seconds: 7 * DAY,
                timestamp_seconds: DAY,
                targets_seconds: 365 * DAY,
            }),
        };
        let begun = Instant::now();
        client.bootstrap(request).await?;
        client.wait_visible(1).await?;
        Ok(begun.elapsed())
    }

    fn sign(&self, unsigned: &Unsigned) -> anyhow::Result<Vec<u8>> {
        Ok(unsigned.seal(vec![self.holder.sign(unsigned.to_sign())?]))
    }

    /// Memory of every service now.
    pub(crate) fn memory(&self) -> anyhow::Result<BTreeMap<&'static str, Memory>> {
        let read = |(service, process): (&&'static str, &Process)| {
            let status = fs::read_to_string(format!("/proc/{}/status", process.child.id()))?;
            let field = |name: &str| -> Option<u64> {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().split(' ').next()?.parse().ok()
            };
            let kib = |name: &str| field(name).with_context(|| format!("no {name} of rstuf-{service}"));
            Ok((*service, Memory { resident_bytes: kib("VmRSS:")? << 10, peak_bytes: kib("VmHWM:")? << 10 }))
        };
        self.processes.iter().map(read).collect()
    }

    /// Seconds that each step of a publication took together, and how often it was taken, by the coordinator's own measure.
    pub(crate) async fn steps(&self) -> anyhow::Result<BTreeMap<String, (f64, f64)>> {
        let coordinator = self.processes.get("coordinator").context("not started")?;
        let text = reqwest::get(format!("{}/metrics", coordinator.admin_url)).await?.text().await?;
        let mut steps: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with(rstuf_runtime::names::STEP_SECONDS)) {
            let step = line.split_once("step=\"").and_then(|(_, rest)| rest.split_once('"'));
            let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok());
            let (Some((step, _)), Some(value)) = (step, value) else { continue };
            let entry = steps.entry(step.to_owned()).or_default();
            if line.contains("_sum{") {
                entry.0 = value;
            } else if line.contains("_count{") {
                entry.1 = value;
            }
        }
        Ok(steps)
    }
}

/// Memory of one process.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Memory {
    /// Now.
    pub resident_bytes: u64,
    /// The most there ever was.
    pub peak_bytes: u64,
}

fn public_key(signers: &[proto::SignerStatus], group: &str) -> anyhow::Result<PublicKey> {
    let signer = signers.iter().find(|signer| signer.group == group);
    let key = signer.and_then(|signer| signer.public_key.as_ref());
    let key = key.with_context(|| format!("the {group} signer has no key"))?;
    Ok(PublicKey::from_value(&serde_json::from_str(&key.key_json)?)?)
}

/// Ports that nobody listens on now.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
