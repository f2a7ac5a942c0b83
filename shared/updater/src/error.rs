//! Why an update or a download failed.

use std::{io, path::PathBuf};

use rstuf_tuf::{RoleName, TargetPath};

/// Why an update or a download failed. Whatever had been verified before stays trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the repository can't be used.
    #[error("{field} is {value:?}, allowed is an http URL that can have a path")]
    Url {
        /// Which of the options.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be set up: {source}")]
    Client {
        /// The client's reason.
        source: reqwest::Error,
    },
    /// No answer, or one that broke off or came too slowly.
    #[error("{url} can't be fetched: {source}")]
    Transport {
        /// What was asked for.
        url: String,
        /// The client's reason.
        source: reqwest::Error,
    },
    /// The server refused or failed.
    #[error("{url} is answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The repository lacks a file that its metadata, or every repository, must have.
    #[error("{url} does not exist")]
    Absent {
        /// What was asked for.
        url: String,
    },
    /// More bytes than announced or allowed; the rest was not read.
    #[error("{url} is longer than the {bytes_max} bytes allowed")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The announced length, or the limit for files without one.
        bytes_max: u64,
    },
    /// Metadata that a client must refuse.
    #[error("{role} metadata is refused: {source}")]
    Refused {
        /// The role whose metadata it is.
        role: RoleName,
        /// The rule that it breaks.
        source: rstuf_tuf::Error,
    },
    /// Metadata that was verified in an earlier run, and is not what it was then: that of roles whose keys changed
    /// since is forgotten, so it is no matter of trust.
    #[error(
        "{path:?} was kept by an earlier run and is damaged: {source}; without it an older repository would pass for \
         the newest, so bring it back, or remove it to begin anew with what the repository shows"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rstuf_tuf::Error,
    },
    /// No refresh succeeded yet, or the last one failed.
    #[error("the metadata is not up to date, refresh it first")]
    NotRefreshed,
    /// The metadata, newest and verified, lists no such target.
    #[error("{path} is not in the repository")]
    NotFound {
        /// The path asked for.
        path: TargetPath,
    },
    /// A target that is not the one its metadata describes; nothing of it was kept.
    #[error("{path} does not have the {what} that its metadata states")]
    Mismatch {
        /// The path asked for.
        path: TargetPath,
        /// `length` or `hashes`.
        what: &'static str,
    },
    /// The state directory, or the file to download to, can't be read or written.
    #[error("{path:?} can't be used: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
