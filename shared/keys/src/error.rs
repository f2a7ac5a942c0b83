//! What can be wrong with a key, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The result of a key source's call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a key can't be used. No message holds any byte of a key or a passphrase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("key file {path} does not exist: check the path, or create a key")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is a file where a new key was to be written.
    #[error("key file {path} exists already: a key is never overwritten, choose another name or move it away")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else could read or replace the key.
    #[error(
        "key file {path} has mode {mode:04o}: it must not be accessible by others nor writable by the group, \
         run `chmod 600 {path}`"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path} is not a key file: {reason}; allowed is an ed25519 private key, PKCS#8 in PEM, encrypted or not")]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The key is encrypted, and no passphrase was given.
    #[error("key file {path} is encrypted: give its passphrase")]
    PassphraseMissing {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase does not decrypt the key.
    #[error(
        "key file {path} can't be decrypted: the passphrase is wrong, or the file is \
         damaged or encrypted in an unknown way"
    )]
    PassphraseWrong {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase that protects nothing, or that no prompt could take.
    #[error("the passphrase from {origin} has {bytes} bytes, allowed are 1 to 1024 in one line of UTF-8")]
    PassphraseInvalid {
        /// Where it came from.
        origin: String,
        /// Its length.
        bytes: usize,
    },
    /// No randomness for a new key.
    #[error("no randomness for a new key: {reason}")]
    Randomness {
        /// The system's answer.
        reason: String,
    },
    /// The operating system refused a call.
    #[error("can't {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A source other than a file did not sign.
    #[error("the key source did not sign: {reason}")]
    Unavailable {
        /// Its answer.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
