//! The five services as processes of their own, and what they say of themselves.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rstuf_tests::processes::{Processes, Service};
use rstuf_tuf::Layout;

use crate::client::Client;

/// Five processes with an empty repository; they end when this is dropped.
pub(crate) struct System {
    processes: Processes,
    /// How the repository is laid out.
    pub layout: Layout,
}

/// Seconds that an effect took in all, and how often it happened.
pub(crate) type Effects = BTreeMap<String, (f64, f64)>;

/// Memory of one process.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Memory {
    /// Now.
    pub resident_bytes: u64,
    /// The most there ever was.
    pub peak_bytes: u64,
}

impl System {
    /// Starts all services with fresh state under `folder`, which stays there.
    pub(crate) async fn start(folder: &Path, layout: Layout) -> anyhow::Result<Self> {
        let own = tempfile::Builder::new().prefix("system-").tempdir_in(folder)?.keep();
        let mut processes = Processes::new(&own, &layout.to_string()).await?;
        processes.spawn_all()?;
        processes.ready_for_ceremony().await?;
        Ok(Self { processes, layout })
    }

    /// Holds the ceremony; answers when the first publication is visible, with the time since the call.
    pub(crate) async fn bootstrap(&mut self, client: &Client) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.processes.hold_ceremony().await?;
        client.wait_visible(1).await?;
        let time = begun.elapsed();
        self.processes.all_ready().await?;
        Ok(time)
    }

    /// Where submissions go.
    pub(crate) fn coordinator_url(&self) -> String {
        self.processes.coordinator_url()
    }

    /// Where clients read.
    pub(crate) fn mirror_url(&self) -> String {
        self.processes.mirror_url()
    }

    /// What clients trust from the start.
    pub(crate) fn root(&self) -> anyhow::Result<Vec<u8>> {
        self.processes.root_bytes()
    }

    /// Memory of every service now, by its name.
    pub(crate) fn memory(&self) -> anyhow::Result<BTreeMap<&'static str, Memory>> {
        let read = |service: Service| {
            let id = self.processes.id(service).context("a service has ended")?;
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let bytes = |name: &str| {
                let value = status.lines().find_map(|line| line.strip_prefix(name));
                let kib = value.and_then(|value| value.trim().split(' ').next()?.parse::<u64>().ok());
                kib.map(|kib| kib << 10).with_context(|| format!("no {name} of rstuf-{}", service.name()))
            };
            Ok((service.name(), Memory { resident_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? }))
        };
        Service::ALL.into_iter().map(read).collect()
    }

    /// How long each effect of a publication took so far, by the coordinator's own measure.
    pub(crate) async fn effects(&self) -> anyhow::Result<Effects> {
        let url = format!("{}/metrics", self.processes.admin_url(Service::Coordinator));
        let text = reqwest::get(url).await?.text().await?;
        let mut effects = Effects::new();
        for line in text.lines().filter(|line| line.starts_with(rstuf_runtime::names::EFFECT_SECONDS)) {
            let effect = line.split_once("effect=\"").and_then(|(_, rest)| rest.split_once('"'));
            let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok());
            let (Some((effect, _)), Some(value)) = (effect, value) else { continue };
            let entry = effects.entry(effect.to_owned()).or_default();
            if line.contains("_sum{") {
                entry.0 = value;
            } else if line.contains("_count{") {
                entry.1 = value;
            }
        }
        Ok(effects)
    }
}

/// Ticks in a second of the times in `/proc`.
const TICKS: f64 = 100.0;

/// Seconds that a process and its children took of the processors so far.
pub(crate) fn cpu_seconds(id: u32) -> anyhow::Result<f64> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    let all = std::iter::once(Ok(id)).chain(children.split_whitespace().map(str::parse));
    let mut seconds = 0.0;
    for id in all {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id?))?;
        // Behind the name, which may hold anything: the state, and from the twelfth on user and system time.
        let (_, fields) = stat.rsplit_once(") ").context("no process")?;
        let times = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        seconds += times.sum::<Result<f64, _>>()? / TICKS;
    }
    Ok(seconds)
}
