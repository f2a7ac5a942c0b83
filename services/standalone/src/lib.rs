//! Every service in one process: for `rstuf dev` and for tests.
//!
//! They still speak gRPC with each other over loopback, and each signer still has a key and a state directory of its
//! own. But all keys, the root key among them, are in one process on one machine: a convenience, not a deployment.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `options`: what whoever starts it chooses
//! 2. `place`: its ports and its directory
//! 3. `group`: what is stopped together
//! 4. `services`: each of them, from its own configuration
//! 5. `ceremony`: the first root, held by itself
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
mod options;
mod place;
mod services;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use rstuf_runtime::{Clock, Shutdown};
use tokio::net::TcpListener;

use services::Services;

pub use ceremony::hold_ceremony;
pub use options::Options;
pub use place::{Place, PortTaken};

/// All services, running.
pub struct Standalone {
    /// Of the coordinator, `http://HOST:PORT`.
    pub coordinator_url: String,
    /// Of the mirror, `http://HOST:PORT`.
    pub mirror_url: String,
    /// Of the admin ports, by service, `http://HOST:PORT`.
    pub admin_urls: BTreeMap<&'static str, String>,
    services: Services,
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
        let Place { options, coordinator, mirror, lock } = place;
        remove_stale(&options.endpoints_file())?;
        let url = |listener: &TcpListener| anyhow::Ok(format!("http://{}", listener.local_addr()?));
        let (coordinator_url, mirror_url) = (url(&coordinator)?, url(&mirror)?);
        let (services, admin_urls) = services::start(&options, &clock, coordinator, mirror).await?;
        let endpoints_file = options.endpoints_file();
        let mut standalone =
            Self { coordinator_url, mirror_url, admin_urls, services, shutdown, endpoints_file, _lock: lock };
        if let Err(error) = standalone.hold_ceremony(&options, &clock).await {
            // If a service failed, that is the reason; what the ceremony says is only its consequence.
            return Err(standalone.stop().await.err().unwrap_or(error));
        }
        standalone.write_endpoints()?;
        Ok(standalone)
    }

    async fn hold_ceremony(&mut self, options: &Options, clock: &Clock) -> anyhow::Result<()> {
        let url = self.coordinator_url.clone();
        tokio::select! {
            held = hold_ceremony(options, clock, &url) => held,
            failure = self.failure_before_shutdown() => {
                Err(failure.unwrap_or_else(|| anyhow!("stopped before the ceremony was over")))
            }
        }
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
        let stopped = self.services.stop().await;
        remove_stale(&self.endpoints_file)?;
        stopped
    }

    /// Waits until a service fails.
    pub async fn failure(&mut self) -> anyhow::Error {
        self.services.failure().await
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
        Ok(rstuf_store::replace(&self.endpoints_file, format!("{endpoints}\n").as_bytes())?)
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
