//! Work apart from its caller, within the caller's trace.

use tokio::task::JoinError;
use tracing::Instrument;

use crate::liveness::for_the_same;

/// Runs `work` to its end even if the caller is gone: what it makes durable must also be remembered.
///
/// # Errors
/// Where it panicked, or the runtime is going down.
pub async fn detached<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, JoinError> {
    tokio::spawn(work.in_current_span()).await
}

/// Runs `work` on a thread that may block, for the caller's loop.
///
/// # Errors
/// As [`detached`].
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let span = tracing::Span::current();
    let work = for_the_same(work);
    tokio::task::spawn_blocking(move || span.in_scope(work)).await
}
