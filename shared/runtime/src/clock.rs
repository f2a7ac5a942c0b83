//! The only place that reads the wall clock.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// The longest that a sleeper on the system clock goes without looking at the time again. The wall clock can be
/// stepped and a machine can be suspended; a timer alone would notice neither.
const RECHECK_MAX: Duration = Duration::from_secs(10);

/// A source of wall-clock time. Cheap to clone; clones of a manual clock move together.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(watch::Receiver<Timestamp>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until its [`ManualClock`] moves it.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let (sender, receiver) = watch::channel(start);
        (Self(Source::Manual(receiver)), ManualClock(sender))
    }

    /// The time now.
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// Sleeps until [`Clock::now`] is `deadline` or later; at once where it already is.
    ///
    /// On the system clock a step of the wall clock is noticed within 10 seconds. On a manual clock whose
    /// [`ManualClock`] is gone, time stands still: a deadline in its future is never reached.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        match &self.0 {
            Source::System => loop {
                let Ok(left) = Duration::try_from(deadline.duration_since(self.now())) else { return };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(RECHECK_MAX)).await;
            },
            Source::Manual(now) => {
                if now.clone().wait_for(|now| *now >= deadline).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Sleeps for `period` of this clock's time, counted from now.
    pub async fn sleep(&self, period: Duration) {
        self.sleep_until(later(self.now(), period)).await;
    }
}

/// Moves a manual [`Clock`]. Time may go back, as it can on a real machine.
#[derive(Debug, Clone)]
pub struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    /// A clock that this handle moves.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(self.0.subscribe()))
    }

    /// Moves the clock forward by `period`, and wakes whoever waited for that.
    pub fn advance(&self, period: Duration) {
        self.0.send_modify(|now| *now = later(*now, period));
    }

    /// Sets the clock to `now`, forward or back, and wakes whoever waited for that.
    pub fn set(&self, now: Timestamp) {
        self.0.send_replace(now);
    }
}

/// `period` after `start`, or the last representable time where that is earlier.
fn later(start: Timestamp, period: Duration) -> Timestamp {
    start.checked_add(period).unwrap_or(Timestamp::MAX)
}
