//! Work that blocks: the disk, and hashing or verifying much.

use crate::{Error, Result};

/// What is worked on at once: to switch threads costs as much.
const FEW_BYTES: usize = 4 * 1024;

/// See [`rstuf_runtime::blocking`].
///
/// # Errors
/// The work's own; [`Error::Stopping`] when the runtime is going down.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    rstuf_runtime::blocking(work).await.map_err(|_| Error::Stopping)?
}

/// Works on so many bytes, without the disk: see [`blocking`], unless they are few.
///
/// # Errors
/// As [`blocking`].
pub(crate) async fn blocking_for<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes > FEW_BYTES { blocking(work).await } else { work() }
}
