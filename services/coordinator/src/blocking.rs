//! Work that blocks: the disk, and hashing or verifying much.

use crate::{Error, Result};

/// Runs it on a thread where it may block.
///
/// # Errors
/// The work's own; [`Error::Stopping`] when the runtime is going down.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)?
}
