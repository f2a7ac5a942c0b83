//! Work that blocks: the disk, and hashing or verifying much.

use crate::{Error, Result};

/// Runs it on a thread where it may block, within the caller's trace.
///
/// # Errors
/// The work's own; [`Error::Stopping`] when the runtime is going down.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(|_| Error::Stopping)?
}
