//! Work that goes on without its caller, or that blocks.

use tokio::task::JoinError;

use crate::{Error, Result};

/// See [`rstuf_runtime::detached`].
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    rstuf_runtime::detached(work).await.map_err(died)?
}

/// See [`rstuf_runtime::blocking`].
///
/// # Errors
/// Those of the work; [`Error::Task`] if it panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    rstuf_runtime::blocking(work).await.map_err(died)?
}

fn died(error: JoinError) -> Error {
    Error::Task { reason: error.to_string() }
}
