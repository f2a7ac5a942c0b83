//! Key sources: where a private key lives, behind one trait. A file today; hardware tokens and key services fit the trait.
//!
//! Private bytes are overwritten when they are dropped, and no `Debug` shows them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod error;
mod file;
mod passphrase;

pub use error::{Error, Result};
pub use file::FileKey;
pub use passphrase::Passphrase;
/// The operating system's randomness: what [`FileKey::generate`] and [`FileKey::save`] are given outside of tests.
pub use rand::rngs::SysRng;
use rstuf_tuf::{PublicKey, Signature};

/// A private key that signs, wherever it lives. Calls may block: a token or a key service answers in its own time.
pub trait KeySource: std::fmt::Debug + Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message`, the canonical form of a document.
    ///
    /// # Errors
    /// Where the source does not answer; a file's key always does.
    fn sign(&self, message: &[u8]) -> Result<Signature>;
}
