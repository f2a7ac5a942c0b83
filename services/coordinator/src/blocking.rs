//! Work that blocks: the disk, and hashing or verifying much.

use crate::{Error, Result};

/// See [`rstuf_runtime::blocking`].
///
/// # Errors
/// The work's own; [`Error::Stopping`] when the runtime is going down.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    rstuf_runtime::blocking(work).await.map_err(|_| Error::Stopping)?
}
