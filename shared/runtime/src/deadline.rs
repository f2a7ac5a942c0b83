//! The time that the request being handled was given, known to whatever it calls.

use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    /// When the answer to the request being handled must have begun.
    static DEADLINE: Instant;
}

/// What is left of the time that the request being handled was given; none outside of a request. Tasks spawned by the
/// handler are outside.
pub(crate) fn time_left() -> Option<Duration> {
    DEADLINE.try_with(|it| it.saturating_duration_since(Instant::now())).ok()
}

/// Runs `request`, whose answer must have begun at `deadline`.
pub(crate) fn with_deadline<F: Future>(deadline: Instant, request: F) -> impl Future<Output = F::Output> {
    DEADLINE.scope(deadline, request)
}
