//! Every service in one process: for `rstuf dev` and for tests.
//!
//! They still speak gRPC with each other over loopback, and each signer still has a key and a state directory of its own.
//! But all keys, the root key among them, are in one process on one machine: a convenience, not a deployment.
//!
//! ```text
//! DIR/endpoints.json    where coordinator and mirror answer, as soon as both do and the first root is published
//! DIR/keys/root.pem     the root key, made at the first start
//! DIR/coordinator/      state of the coordinator; likewise targets/, snapshot/, timestamp/
//! DIR/published/        what the mirror serves as /metadata/
//! DIR/artifacts/        what the mirror serves as /targets/, files named by their SHA-256
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod ceremony;
mod group;
mod place;
mod services;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use rstuf_coordinator::effects::StopAt;
use rstuf_runtime::{Clock, Shutdown};
use rstuf_tuf::Layout;

use group::Group;

pub use ceremony::hold_ceremony;
pub use place::{Place, PortTaken};

/// How the services are started.
#[derive(Clone)]
pub struct Options {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Of a new repository; one that exists keeps its own.
    pub layout: Layout,
    /// Where the coordinator listens; port 0 picks a free one.
    pub coordinator: SocketAddr,
    /// Where the mirror listens; port 0 picks a free one.
    pub mirror: SocketAddr,
    /// How long superseded metadata stays.
    pub superseded_grace: Duration,
    /// The largest document that the targets signer signs, in bytes.
    pub document_bytes_max: usize,
    /// Where the coordinator stops dead; outside of tests nowhere.
    pub stop_at: StopAt,
}

impl Options {
    /// The defaults, on free ports.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data_dir: data_dir.into(),
            layout: Layout::default(),
            coordinator: any,
            mirror: any,
            superseded_grace: Duration::from_secs(3_600),
            document_bytes_max: rstuf_tuf::DOCUMENT_BYTES_MAX,
            stop_at: Arc::new(|_, _| false),
        }
    }

    /// Where artifacts are kept for the mirror, files named by their SHA-256.
    pub fn artifacts_dir(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    /// Where the endpoints are written.
    pub fn endpoints_file(&self) -> PathBuf {
        self.data_dir.join("endpoints.json")
    }
}

/// All services, running.
pub struct Standalone {
    /// Of the coordinator, `http://HOST:PORT`.
    pub coordinator_url: String,
    /// Of the mirror, `http://HOST:PORT`.
    pub mirror_url: String,
    /// Of the admin ports, by service, `http://HOST:PORT`.
    pub admin_urls: BTreeMap<&'static str, String>,
    /// Stopped first: what it is in the midst of needs the signers to be finished.
    coordinator: Group,
    others: Group,
    shutdown: Shutdown,
    endpoints_file: PathBuf,
    /// Held for as long as anything runs.
    _lock: fs::File,
}

impl Standalone {
    /// Starts every service, holds the ceremony if there was none, and waits until its repository is published.
    ///
    /// # Errors
    /// As [`Place::take`] and [`Standalone::start_at`].
    pub async fn start(options: Options, clock: Clock, shutdown: Shutdown) -> anyhow::Result<Self> {
        Self::start_at(Place::take(options).await?, clock, shutdown).await
    }

    /// As [`Standalone::start`], at a place that was taken.
    ///
    /// # Errors
    /// What a service says, or that the shutdown came first; everything is stopped again then.
    pub async fn start_at(place: Place, clock: Clock, shutdown: Shutdown) -> anyhow::Result<Self> {
        let options = place.options.clone();
        remove_stale(&options.endpoints_file())?;
        let mut standalone = services::start(place, &clock, shutdown).await?;
        match ceremony::hold(&options, &clock, &mut standalone).await {
            Ok(()) => {}
            Err(error) => {
                // If a service failed, that is the reason; what the ceremony says is only its consequence.
                return Err(standalone.stop().await.err().unwrap_or(error));
            }
        }
        standalone.write_endpoints()?;
        Ok(standalone)
    }

    /// Runs until the shutdown, or until a service fails.
    ///
    /// # Errors
    /// What the service says.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        let failure = self.failure_before_shutdown().await;
        let stopped = self.stop().await;
        failure.map_or(stopped, Err)
    }

    /// Stops every service and waits for its end; the coordinator first, then what it calls.
    ///
    /// # Errors
    /// The first failure.
    pub async fn stop(self) -> anyhow::Result<()> {
        let coordinator = self.coordinator.stop().await;
        let others = self.others.stop().await;
        remove_stale(&self.endpoints_file)?;
        coordinator.and(others)
    }

    /// Waits until a service fails.
    pub async fn failure(&mut self) -> anyhow::Error {
        tokio::select! {
            failure = self.coordinator.failure() => failure,
            failure = self.others.failure() => failure,
        }
    }

    /// What fails before the shutdown comes.
    async fn failure_before_shutdown(&mut self) -> Option<anyhow::Error> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            failure = self.failure() => Some(failure),
            () = shutdown.wait() => None,
        }
    }

    fn write_endpoints(&self) -> anyhow::Result<()> {
        let endpoints = serde_json::json!({ "coordinator": self.coordinator_url, "mirror": self.mirror_url });
        let temporary = self.endpoints_file.with_extension("json.writing");
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            writeln!(file, "{endpoints}")?;
            file.sync_all()?;
            fs::rename(&temporary, &self.endpoints_file)
        };
        write().with_context(|| format!("can't write {}", self.endpoints_file.display()))
    }
}

/// Endpoints of an earlier run would mislead whoever waits for the file.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the coordinator is in the midst of needs the signers.
    #[tokio::test]
    async fn the_coordinator_has_ended_before_what_it_calls_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let Place { options, lock, .. } = Place::take(Options::new(dir.path())).await.unwrap();
        let (mut coordinator, mut others) = (Group::default(), Group::default());
        let (stopped, signers) = (coordinator.shutdown().clone(), others.shutdown().clone());
        coordinator.spawn(async move {
            stopped.wait().await;
            tokio::task::yield_now().await;
            anyhow::ensure!(!signers.is_triggered(), "the signers were stopped before the coordinator was done");
            Ok(())
        });
        let stopped = others.shutdown().clone();
        others.spawn(async move {
            stopped.wait().await;
            Ok(())
        });
        let standalone = Standalone {
            coordinator_url: String::new(),
            mirror_url: String::new(),
            admin_urls: BTreeMap::new(),
            coordinator,
            others,
            shutdown: Shutdown::new(),
            endpoints_file: options.endpoints_file(),
            _lock: lock,
        };
        standalone.stop().await.unwrap();
    }
}
