//! The time that the request being handled was given, known to whatever it calls.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The time that a caller gives a call.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

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

/// The time that a request is given by its caller.
pub(crate) fn asked(headers: &HeaderMap) -> Option<Duration> {
    headers.get(GRPC_TIMEOUT).and_then(|it| parse(it.to_str().ok()?))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 defines `grpc-timeout`.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}
