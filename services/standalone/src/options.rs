//! How a system is started.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rstuf_coordinator::effects::StopAt;
use rstuf_tuf::{Layout, MetadataFile, RoleName, Version};

/// How long snapshots live: clients see none that is older, and signers may be away for as long.
const SNAPSHOT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

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
    /// How long a snapshot of a new repository lives.
    pub snapshot_lifetime: Duration,
    /// How long superseded metadata stays.
    pub superseded_grace: Duration,
    /// The largest document that the targets signer signs, in bytes.
    pub document_bytes_max: usize,
    /// What a role may lose in one publication, as the targets signer's setting has it; any without it.
    pub removals_per_publication_max: Option<String>,
    /// Where the coordinator stops; outside of tests nowhere.
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
            snapshot_lifetime: SNAPSHOT_LIFETIME,
            superseded_grace: Duration::from_secs(3_600),
            document_bytes_max: rstuf_tuf::DOCUMENT_BYTES_MAX,
            removals_per_publication_max: None,
            stop_at: Arc::new(|_, _| None),
        }
    }

    /// Where artifacts are kept for the mirror, files named by their SHA-256.
    pub fn artifacts_dir(&self) -> PathBuf {
        self.data_dir.join("artifacts")
    }

    /// What the mirror serves.
    pub fn published_dir(&self) -> PathBuf {
        self.data_dir.join("published")
    }

    /// The first root, from the ceremony on.
    pub fn first_root_file(&self) -> PathBuf {
        let name = MetadataFile::of(&RoleName::root(), Version::ONE);
        self.published_dir().join("metadata").join(name.to_string())
    }

    /// Where the endpoints are written.
    pub fn endpoints_file(&self) -> PathBuf {
        self.data_dir.join("endpoints.json")
    }
}
