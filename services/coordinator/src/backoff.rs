//! Waiting between attempts that must be made until they succeed.

use std::time::Duration;

use rstuf_runtime::{Shutdown, liveness::beat, retry::Policy};

/// First and longest bound of the wait: a signer that was restarted is found again within seconds.
const DELAY_BASE: Duration = Duration::from_millis(20);
const DELAY_MAX: Duration = Duration::from_secs(2);

/// Grows with each attempt; with full jitter.
pub(crate) struct Backoff {
    attempt: u32,
    delay_max: Duration,
    shutdown: Shutdown,
}

impl Backoff {
    /// Before the first attempt.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        Self::up_to(DELAY_MAX, shutdown)
    }

    /// The same for attempts that cost much.
    pub(crate) fn up_to(delay_max: Duration, shutdown: Shutdown) -> Self {
        Self { attempt: 0, delay_max, shutdown }
    }

    /// Waits; answers false when it is time to stop.
    pub(crate) async fn wait(&mut self) -> bool {
        beat();
        let policy = Policy { delay_base: DELAY_BASE, delay_max: self.delay_max, ..Policy::default() };
        let delay = policy.delay(self.attempt, &mut rand::rng());
        self.attempt = self.attempt.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(delay) => !self.shutdown.is_triggered(),
            () = self.shutdown.wait() => false,
        }
    }
}
