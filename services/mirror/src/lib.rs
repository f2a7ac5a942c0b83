//! The mirror: a read-only view of published metadata, and of artifacts where they are given, over plain HTTP.
//!
//! | URL | answers |
//! |---|---|
//! | `/metadata/VERSION.ROLE.json` | a published document, cached for ever |
//! | `/metadata/timestamp.json` | the newest timestamp, cached for seconds |
//! | `/targets/DIR/HASH.NAME` | an artifact under the URL of the TUF specification (6.2), cached for ever |
//! | `/targets/HASH.DIR/NAME` | the same under the URL that tough builds |
//! | `/targets/DIR/NAME` | the newest artifact at a path, cached for seconds |
//!
//! `GET` and `HEAD`; entity tags and `If-None-Match`, ranges and `If-Range`, gzip for metadata. What is not there is
//! 404 and not cached. It holds no key and no state, writes nothing, and checks no signatures: clients do. An artifact
//! is served only while its bytes have the digest that names it.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `config`: the settings
//! 2. `path`: what a URL asks for
//! 3. `files`: open files
//! 4. `digests`: what their bytes hash to
//! 5. `bounded`: what was used last
//! 6. `gzip`: documents made shorter
//! 7. `shelf`: files with their digests, small ones in memory
//! 8. `published`: what the published metadata says about an artifact
//! 9. `metrics`: what is counted
//! 10. `wire`: connections that send files
//! 11. `body`: bodies of answers
//! 12. `respond`: from a file to an HTTP answer
//! 13. `routes`: the URL space
//! 14. `server`: connections
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod body;
mod bounded;
mod config;
mod digests;
mod files;
mod gzip;
mod metrics;
mod path;
mod published;
mod respond;
mod routes;
mod server;
mod shelf;
mod wire;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rstuf_runtime::{ConnectionMetrics, Context, Hold, Readiness};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

pub use crate::config::{Config, ConfigRaw};
use crate::{
    digests::Digests,
    files::Directory,
    metrics::{Kind, Metrics},
    published::Published,
    routes::Site,
    server::Limits,
    shelf::{Content, Shelf},
};

/// Why a mirror that has not looked yet is not ready.
const STARTING: &str = "looking for what is published";
/// How often the mirror looks whether there is a timestamp to serve.
const READINESS_PERIOD: Duration = Duration::from_millis(200);

/// Why a mirror can't be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory of the configuration is something else.
    #[error("{key} is {path:?}, which is not a directory")]
    NotADirectory {
        /// The configuration's key.
        key: &'static str,
        /// Its value.
        path: PathBuf,
    },
}

/// A mirror, ready to serve.
#[derive(Debug)]
pub struct Mirror {
    site: Arc<Site>,
    limits: Limits,
    connections: ConnectionMetrics,
    published: Published,
    published_dir: PathBuf,
    /// Kept from the beginning: a mirror is never ready before it looked.
    starting: Hold,
    context: Context,
}

impl Mirror {
    /// Builds the mirror. Directories may still be absent: they are looked into at each request.
    ///
    /// # Errors
    ///
    /// If a configured directory is a file.
    pub fn build(config: &Config, context: Context) -> Result<Self, Error> {
        check_directory("published_dir", &config.published_dir)?;
        if let Some(path) = &config.artifacts_dir {
            check_directory("artifacts_dir", path)?;
        }
        let metadata = Directory::new(config.published_dir.join("metadata"));
        let published = Published::new(metadata.clone());
        let artifacts = config.artifacts_dir.clone().map(|it| ("artifacts", it));
        context.metrics.show_free_bytes([("published", config.published_dir.clone())].into_iter().chain(artifacts));
        let metrics = Metrics::register(&context.metrics, context.clock.clone(), published.clone());
        let shelf = |directory, kind, content| {
            let digests = Digests::new(context.clock.clone(), metrics.hashed(kind));
            Shelf::new(directory, digests, content)
        };
        let artifacts = |path| shelf(Directory::new(path), Kind::Artifact, Content::Artifact);
        let site = Arc::new(Site {
            metadata: shelf(metadata, Kind::Metadata, Content::Metadata),
            artifacts: config.artifacts_dir.clone().map(artifacts),
            published: published.clone(),
            transfers: Arc::new(Semaphore::new(routes::transfers_max(config.connections_max))),
            short_max_age_seconds: config.short_max_age_seconds,
            metrics,
        });
        let limits = Limits {
            connections_max: config.connections_max,
            peer_percent_max: config.peer_percent_max,
            header_timeout: config.header_timeout,
            stall_timeout: config.stall_timeout,
            drain: config.process.drain,
            shutdown_deadline: config.process.shutdown_deadline,
        };
        let connections = ConnectionMetrics::default();
        context.metrics.connections(connections.clone());
        let starting = context.readiness.hold(STARTING);
        let published_dir = config.published_dir.clone();
        Ok(Self { site, limits, connections, published, published_dir, starting, context })
    }

    /// Serves `listener` until the context's shutdown; answers that run then have the configured time to end.
    ///
    /// Ready whenever there is a `timestamp.json`.
    pub async fn run(self, listener: TcpListener) {
        let Self { site, limits, connections, published, published_dir, starting, context } = self;
        let serving = server::serve(listener, site, limits, connections, context.shutdown);
        tokio::select! {
            () = serving => {}
            () = keep_ready(published_dir, published, context.readiness, starting) => {}
        }
    }
}

/// Holds the mirror unready exactly while there is nothing to serve, and says why; for ever.
async fn keep_ready(published_dir: PathBuf, published: Published, readiness: Readiness, starting: Hold) {
    let mut held = Some((STARTING.to_owned(), starting));
    let mut ticks = interval(READINESS_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reason = unready(&published_dir, &published).await;
        if held.as_ref().map(|(reason, _)| reason) != reason.as_ref() {
            // The next reason is there before the last one goes: in between the mirror would be ready.
            held = reason.map(|reason| (reason.clone(), readiness.hold(reason)));
        }
    }
}

async fn unready(published_dir: &Path, published: &Published) -> Option<String> {
    if published.has_timestamp().await {
        return None;
    }
    match tokio::fs::metadata(published_dir).await {
        Ok(it) if it.is_dir() => Some("no timestamp.json is published".to_owned()),
        Ok(_) => Some(format!("published_dir {published_dir:?} is not a directory")),
        Err(error) => Some(format!("published_dir {published_dir:?} cannot be read: {error}")),
    }
}

fn check_directory(key: &'static str, path: &Path) -> Result<(), Error> {
    if path.exists() && !path.is_dir() {
        return Err(Error::NotADirectory { key, path: path.to_owned() });
    }
    if !path.exists() {
        tracing::warn!(key, path = %path.display(), "directory does not exist yet");
    }
    Ok(())
}
