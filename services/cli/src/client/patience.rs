//! Trying again for a while, and saying so.

use rstuf_runtime::retry::Policy;
use tokio::time::Instant;

use crate::{error::Error, output::Output};

/// Counts attempts of something that may be tried again, and tells the person when that begins.
#[derive(Debug)]
pub(crate) struct Patience {
    policy: Policy,
    output: Output,
    /// The last time that anything was heard.
    since: Instant,
    /// Attempts since something last moved on.
    failed: u32,
}

impl Patience {
    /// As `policy` says, from now on.
    pub(crate) fn new(policy: Policy, output: Output) -> Self {
        Self { policy, output, since: Instant::now(), failed: 0 }
    }

    /// Something was heard: the time counts from now on.
    pub(crate) fn heard(&mut self) {
        self.since = Instant::now();
    }

    /// Something moved on: attempts are counted from now on.
    pub(crate) fn moved_on(&mut self) {
        self.failed = 0;
    }

    /// Waits until the next attempt should begin, after one that ended with `error`.
    ///
    /// # Errors
    /// `error`, where there should be no other attempt.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        let delay = self.policy.delay(self.failed, &mut rand::rng());
        self.failed += 1;
        let late = self.since.elapsed() + delay > self.policy.elapsed_max;
        if self.failed >= self.policy.attempts_max || late {
            return Err(error);
        }
        if self.failed == 1 {
            let times = self.policy.attempts_max - 1;
            let within = humantime::format_duration(self.policy.elapsed_max);
            self.output
                .note(&format!("{}: trying again, at most {times} times, none begun after {within}", error.message));
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
