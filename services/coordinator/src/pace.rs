//! Bounds the bytes written a second: a busy repository with thousands of bins writes a large snapshot with every
//! publication, and its mirrors keep them for the grace time. An idle repository publishes at once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Duration, Instant};

/// Bytes that may be written a second in the long run.
const BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
/// Bytes that may be written at once after a quiet time.
const BURST_BYTES: u64 = 512 * 1024 * 1024;
/// The longest wait before a publication: also after a huge one, clients need not wait longer.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A bucket that fills with time and that publications empty. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pace {
    /// When the bucket would be full again, were nothing written any more.
    full_at: Arc<Mutex<Instant>>,
}

impl Pace {
    /// With a full bucket.
    pub(crate) fn new() -> Self {
        Self { full_at: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Counts what a publication wrote.
    pub(crate) fn wrote(&self, bytes: u64) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        *full_at = (*full_at).max(Instant::now()) + time_for(bytes);
    }

    /// Waits until the next publication may begin.
    pub(crate) async fn ready(&self) {
        let full_at = *self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let debt = full_at.saturating_duration_since(now).saturating_sub(time_for(BURST_BYTES));
        tokio::time::sleep(debt.min(WAIT_MAX)).await;
    }
}

fn time_for(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle repository never waits; one that writes without pause is slowed down, but never longer than the bound.
    #[tokio::test(start_paused = true)]
    async fn waits_only_under_load() {
        let pace = Pace::new();
        let start = Instant::now();
        for _ in 0..10 {
            pace.ready().await;
            pace.wrote(BURST_BYTES / 10);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.wrote(BYTES_PER_SECOND);
        pace.ready().await;
        // Timers tick in milliseconds.
        assert!((1_000..=1_002).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        pace.wrote(100 * BURST_BYTES);
        let before = Instant::now();
        pace.ready().await;
        assert!(before.elapsed() <= WAIT_MAX + Duration::from_millis(1));
    }
}
