//! Trying a gRPC call again.

use std::{error::Error as _, time::Duration};

use rand::{Rng, RngExt};
use tokio::time::Instant;
use tonic::{Code, Status};

/// How often and how fast a call is tried again. Waits have full jitter: each is a random part of a bound that doubles
/// from `delay_base` up to `delay_max`, so that clients that failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Attempts in all, at least 1.
    pub attempts_max: u32,
    /// The bound of the first wait.
    pub delay_base: Duration,
    /// The bound of every later wait.
    pub delay_max: Duration,
    /// No attempt begins later than this after the first one.
    pub elapsed_max: Duration,
    /// Whether to try again where it is unknown if the call took effect (CANCELLED, which is also what a server's
    /// timeout answers, DEADLINE_EXCEEDED, ABORTED). Only for calls that may safely happen twice.
    pub unknown_outcome: bool,
}

impl Default for Policy {
    /// Five attempts, from 50 ms to 2 s apart, within 15 s; not where the outcome is unknown.
    fn default() -> Self {
        Self {
            attempts_max: 5,
            delay_base: Duration::from_millis(50),
            delay_max: Duration::from_secs(2),
            elapsed_max: Duration::from_secs(15),
            unknown_outcome: false,
        }
    }
}

impl Policy {
    /// Whether an attempt that ended with `status` may be followed by another: UNAVAILABLE, RESOURCE_EXHAUSTED and a
    /// broken connection, and other unknown outcomes where the policy says so. The call may have taken effect before
    /// the connection broke, so every call that is tried again should carry an idempotency key.
    pub fn allows(&self, status: &Status) -> bool {
        match status.code() {
            Code::Internal | Code::Unknown => is_broken_connection(status),
            Code::Unavailable | Code::ResourceExhausted => true,
            Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => self.unknown_outcome,
            _ => false,
        }
    }

    /// The wait after attempt number `attempt` (the first is 0): uniformly between nothing and the bound.
    pub fn delay(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        let bound = self.delay_base.saturating_mul(2_u32.saturating_pow(attempt)).min(self.delay_max);
        bound.mul_f64(rng.random_range(0.0..=1.0))
    }

    /// Calls `call` until it succeeds, fails for good, or the policy's bounds are reached.
    ///
    /// The compiler cannot tell that this future is `Send`; in a spawned task write the loop out with
    /// [`Policy::attempts`].
    ///
    /// # Errors
    /// The last attempt's status.
    pub async fn run<T, F>(self, rng: &mut impl Rng, mut call: F) -> Result<T, Status>
    where
        F: AsyncFnMut() -> Result<T, Status>,
    {
        let mut attempts = self.attempts();
        loop {
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(status) => attempts.again(status, rng).await?,
            }
        }
    }

    /// Counts attempts, the first of which begins now.
    ///
    /// ```
    /// # async fn call() -> Result<(), tonic::Status> { Ok(()) }
    /// # async fn example(mut rng: impl rand::Rng) -> Result<(), tonic::Status> {
    /// let mut attempts = rstuf_runtime::retry::Policy::default().attempts();
    /// let answer = loop {
    ///     match call().await {
    ///         Ok(answer) => break answer,
    ///         Err(status) => attempts.again(status, &mut rng).await?,
    ///     }
    /// };
    /// # Ok(answer) }
    /// ```
    pub fn attempts(self) -> Attempts {
        Attempts { policy: self, start: Instant::now(), failed: 0 }
    }
}

/// Whether `status` says that the connection broke during a call, and not that the other side refused it: INTERNAL or
/// UNKNOWN with a cause, which only a status that was made on this side has.
pub fn is_broken_connection(status: &Status) -> bool {
    matches!(status.code(), Code::Internal | Code::Unknown) && status.source().is_some()
}

/// The attempts of one call.
#[derive(Debug)]
pub struct Attempts {
    policy: Policy,
    start: Instant,
    failed: u32,
}

impl Attempts {
    /// Waits until the next attempt should begin, after one that ended with `status`.
    ///
    /// # Errors
    /// `status`, where there should be no other attempt.
    pub async fn again(&mut self, status: Status, rng: &mut impl Rng) -> Result<(), Status> {
        let delay = self.policy.delay(self.failed, rng);
        self.failed += 1;
        let late = self.start.elapsed() + delay > self.policy.elapsed_max;
        if !self.policy.allows(&status) || self.failed >= self.policy.attempts_max || late {
            return Err(status);
        }
        tracing::debug!(code = ?status.code(), message = status.message(), failed = self.failed, "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
