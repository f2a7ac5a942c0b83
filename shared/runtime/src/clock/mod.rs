//! The only place that reads the clocks.

mod reading;
mod watched;

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

pub use self::reading::{ANCHOR_PERIOD, Boot, Jump, Reading, later};
use self::watched::Watched;

/// The longest that a sleeper on the system clock goes without looking at the time again. The wall clock can be
/// stepped and a machine can be suspended; a timer alone would notice neither.
const RECHECK_MAX: Duration = Duration::from_secs(10);

/// A source of wall-clock time. Cheap to clone; clones of a manual clock move together.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(watch::Receiver<Reading>),
    Watched { base: Box<Clock>, watched: Watched, steady: bool },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start`, on a machine that was started an hour before, until its [`ManualClock`] moves
    /// it.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let boot = Boot { id: "1".to_owned(), elapsed: Duration::from_secs(3_600) };
        let (sender, receiver) = watch::channel(Reading { wall: start, boot: Some(boot) });
        (Self(Source::Manual(receiver)), ManualClock(sender))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Reading::wall_now(),
            Source::Manual(now) => now.borrow().wall,
            Source::Watched { base, watched, steady } => watched.now(&base.reading(), *steady),
        }
    }

    /// The same clock, held against the time since the machine started from now on: see [`Clock::jump`].
    #[must_use]
    pub fn watched(&self) -> Self {
        let watched = Watched::new(self.reading());
        Self(Source::Watched { base: Box::new(self.clone()), watched, steady: false })
    }

    /// Of a watched clock, the same one for deciding what is old: after a jump forward it tells the time that it should
    /// be. Of another one, the same.
    #[must_use]
    pub fn steady(&self) -> Self {
        match &self.0 {
            Source::Watched { base, watched, .. } => {
                Self(Source::Watched { base: base.clone(), watched: watched.clone(), steady: true })
            }
            Source::System | Source::Manual(_) => self.clone(),
        }
    }

    /// That a watched clock jumped forward since it was made so, and did not come back yet. It may be right all the
    /// same: a virtual machine that was paused jumps so.
    pub fn jump(&self) -> Option<Jump> {
        let Source::Watched { base, watched, .. } = &self.0 else { return None };
        watched.jump(&base.reading())
    }

    /// As long as a watched clock is ahead by a jump, it tells the time that it should be: somebody found out that it
    /// is wrong.
    pub fn hold(&self) {
        if let Source::Watched { base, watched, .. } = &self.0 {
            watched.hold(&base.reading());
        }
    }

    /// What all clocks say now.
    pub fn reading(&self) -> Reading {
        match &self.0 {
            Source::System => Reading::now(),
            Source::Manual(now) => now.borrow().clone(),
            Source::Watched { base, .. } => base.reading(),
        }
    }

    /// Sleeps until [`Clock::now`] is `deadline` or later; at once where it already is.
    ///
    /// On the system clock a step of the wall clock is noticed within 10 seconds. On a manual clock whose
    /// [`ManualClock`] is gone, time stands still: a deadline in its future is never reached.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        self.sleep_until_due(|_| deadline).await;
    }

    /// As [`Clock::sleep_until`], with a deadline that depends on the time now: it is asked for at every look at that.
    pub async fn sleep_until_due(&self, due: impl Fn(Timestamp) -> Timestamp) {
        let mut moves = self.moves();
        loop {
            let now = self.now();
            let Ok(left) = Duration::try_from(due(now).duration_since(now)) else { return };
            if left.is_zero() {
                return;
            }
            moves.within(left.min(RECHECK_MAX)).await;
        }
    }

    /// Sleeps for `period` of this clock's time, counted from now.
    pub async fn sleep(&self, period: Duration) {
        self.sleep_until(later(self.now(), period)).await;
    }

    /// For whoever looks at the time now and then.
    pub fn moves(&self) -> Moves {
        match &self.0 {
            Source::System => Moves(None),
            Source::Manual(now) => {
                let mut moves = now.clone();
                moves.mark_unchanged();
                Moves(Some(moves))
            }
            Source::Watched { base, .. } => base.moves(),
        }
    }
}

/// Tells when to look at the time again. Moves of a manual clock since this was made are not missed.
#[derive(Debug)]
pub struct Moves(Option<watch::Receiver<Reading>>);

impl Moves {
    /// Waits for `period`, whatever the wall clock says meanwhile; on a manual clock until that is moved.
    pub async fn within(&mut self, period: Duration) {
        match &mut self.0 {
            None => tokio::time::sleep(period).await,
            Some(moves) => {
                if moves.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Moves a manual [`Clock`]. Time may go back, as it can on a real machine.
#[derive(Debug, Clone)]
pub struct ManualClock(watch::Sender<Reading>);

impl ManualClock {
    /// A clock that this handle moves.
    pub fn clock(&self) -> Clock {
        Clock(Source::Manual(self.0.subscribe()))
    }

    /// Lets `period` pass, and wakes whoever waited for that.
    pub fn advance(&self, period: Duration) {
        self.0.send_modify(|now| {
            now.wall = later(now.wall, period);
            if let Some(boot) = &mut now.boot {
                boot.elapsed = boot.elapsed.saturating_add(period);
            }
        });
    }

    /// Sets the wall clock, forward or back, and wakes whoever waited for that. By the time since the machine started,
    /// nothing passes.
    pub fn set(&self, now: Timestamp) {
        self.0.send_modify(|reading| reading.wall = now);
    }

    /// Starts the machine anew, after `off`.
    pub fn reboot(&self, off: Duration) {
        self.0.send_modify(|now| {
            now.wall = later(now.wall, off);
            if let Some(boot) = &mut now.boot {
                *boot = Boot { id: format!("{}1", boot.id), elapsed: Duration::ZERO };
            }
        });
    }
}
