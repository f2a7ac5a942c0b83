//! Work that goes on without its caller, or that blocks.

use crate::{Error, Result};

/// Runs to the end even if the caller is gone: a commit under way must also be remembered.
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let task = tokio::spawn(tracing::Instrument::in_current_span(work)).await;
    task.unwrap_or_else(|error| Err(Error::Task { reason: error.to_string() }))
}

/// Runs on a thread that may block.
///
/// # Errors
/// Those of the work; [`Error::Task`] if it panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    let task = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    task.unwrap_or_else(|error| Err(Error::Task { reason: error.to_string() }))
}
