//! Everything that can go wrong with a state directory.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The result of a store's call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store refused or failed. Each message names the directory and what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process owns the directory.
    #[error(
        "state directory {dir} is in use by another process: stop that process, or give this one a directory of its own"
    )]
    InUse {
        /// The state directory.
        dir: PathBuf,
    },
    /// What was stored is not what is read, or something acknowledged is gone.
    #[error(
        "state in {dir} is corrupt ({reason}): leave the directory as it is, and restore it from a backup or \
         rebuild it from the published metadata"
    )]
    Corrupt {
        /// The state directory.
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The directory was written by a newer release.
    #[error("state in {dir} has format {found}, this release reads formats up to {supported}: use the newer release")]
    NewerFormat {
        /// The state directory.
        dir: PathBuf,
        /// Format version found.
        found: u32,
        /// Highest format version that this release reads.
        supported: u32,
    },
    /// The directory belongs to another service.
    #[error("state in {dir} belongs to a service of kind `{found}`, not `{wanted}`: check the configured directory")]
    OtherKind {
        /// The state directory.
        dir: PathBuf,
        /// Kind found.
        found: String,
        /// Kind asked for.
        wanted: String,
    },
    /// The directory belongs to another repository.
    #[error("state in {dir} belongs to repository {found}, not {wanted}: check the configured directory")]
    OtherRepository {
        /// The state directory.
        dir: PathBuf,
        /// Repository id bound to the directory, hex.
        found: String,
        /// Repository id asked for, hex.
        wanted: String,
    },
    /// Writing would leave less free space than the floor. Nothing was changed.
    #[error(
        "disk of {dir} is full: {free_bytes} bytes free, {wanted_bytes} wanted beside the floor of {floor_bytes}: \
         make space, nothing was changed"
    )]
    NoSpace {
        /// The state directory.
        dir: PathBuf,
        /// Bytes free.
        free_bytes: u64,
        /// Bytes that the write may need.
        wanted_bytes: u64,
        /// Bytes that must stay free.
        floor_bytes: u64,
    },
    /// A key, a value or a batch is beyond its bound. Nothing was changed.
    #[error("{what} is {value}, allowed is at most {max}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size.
        value: u64,
        /// The largest allowed size.
        max: u64,
    },
    /// An earlier write failed, so what is on the disk is unknown: the process must end, the next start recovers.
    #[error("store in {dir} failed and refuses further calls ({reason}): restart the process")]
    Failed {
        /// The state directory.
        dir: PathBuf,
        /// The failure.
        reason: String,
    },
    /// The store was closed.
    #[error("store in {dir} is closed")]
    Closed {
        /// The state directory.
        dir: PathBuf,
    },
    /// The operating system refused a call while opening or reading.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(dir: &Path, reason: impl Into<String>) -> Self {
        Self::Corrupt { dir: dir.to_owned(), reason: reason.into() }
    }
}
