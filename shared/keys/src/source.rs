//! What every source of a key can do.

use rstuf_tuf::{PublicKey, Signature};

use crate::Result;

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
