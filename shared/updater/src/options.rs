//! What a client is told, and the bounds of what it takes.

use std::{path::PathBuf, time::Duration};

/// What an [`crate::Updater`] is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// URL of the directory of metadata, such as `http://127.0.0.1:8080/metadata`; plain HTTP.
    pub metadata_url: String,
    /// URL of the directory of targets.
    pub targets_url: String,
    /// A root document that is trusted because of where it came from, of any version.
    pub root: Vec<u8>,
    /// Where verified metadata is kept, so that later runs notice a rollback; without it, it is kept in memory. Every
    /// trusted root has its own subdirectory. One client at a time.
    pub state_dir: Option<PathBuf>,
    /// Bounds of what the repository may send.
    pub limits: Limits,
}

impl Options {
    /// Options with the default limits that keep metadata in memory.
    pub fn new(metadata_url: impl Into<String>, targets_url: impl Into<String>, root: Vec<u8>) -> Self {
        let (metadata_url, targets_url) = (metadata_url.into(), targets_url.into());
        Self { metadata_url, targets_url, root, state_dir: None, limits: Limits::default() }
    }

    /// The same, keeping metadata in `directory`.
    #[must_use]
    pub fn with_state_dir(self, directory: impl Into<PathBuf>) -> Self {
        Self { state_dir: Some(directory.into()), ..self }
    }
}

/// Bounds of what a repository may send; the defaults are those of most clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a root document.
    pub root_bytes: u64,
    /// Bytes of the timestamp.
    pub timestamp_bytes: u64,
    /// Bytes of a snapshot whose length the timestamp does not state.
    pub snapshot_bytes: u64,
    /// Bytes of a targets document whose length the snapshot does not state.
    pub targets_bytes: u64,
    /// New roots followed in one refresh.
    pub root_rotations: u32,
    /// Delegated roles visited for one path.
    pub delegations: usize,
    /// Bytes of a target that is downloaded into memory.
    pub memory_bytes: u64,
    /// Time to connect.
    pub connect_time: Duration,
    /// Time without a byte of an answer. As a whole an answer may take a minute, and a second more for each KiB
    /// allowed.
    pub pause_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root_bytes: 512_000,
            timestamp_bytes: 16_384,
            snapshot_bytes: 2_000_000,
            targets_bytes: 5_000_000,
            root_rotations: 256,
            delegations: 32,
            memory_bytes: 256 << 20,
            connect_time: Duration::from_secs(10),
            pause_time: Duration::from_secs(30),
        }
    }
}
