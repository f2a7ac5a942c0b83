//! A wall clock that is held against the time since the machine started.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::reading::{Jump, Reading};

/// By how much the wall clock may be set forward.
const JUMP_MAX: Duration = Duration::from_secs(5 * 60);

/// What is known of a clock. Cheap to clone; clones are one.
#[derive(Debug, Clone)]
pub(super) struct Watched(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    anchor: Reading,
    /// Whether a jump is known to be wrong.
    holds: bool,
}

impl Watched {
    pub(super) fn new(anchor: Reading) -> Self {
        Self(Arc::new(Mutex::new(State { anchor, holds: false })))
    }

    /// The time: what the wall clock says, unless it jumped and is known to be wrong, or the asker wants the `steady`
    /// time.
    pub(super) fn now(&self, reading: &Reading, steady: bool) -> Timestamp {
        let mut state = self.lock();
        match state.jump(reading) {
            Some(jump) if steady || state.holds => jump.expected,
            _ => reading.wall,
        }
    }

    pub(super) fn jump(&self, reading: &Reading) -> Option<Jump> {
        self.lock().jump(reading)
    }

    pub(super) fn hold(&self, reading: &Reading) {
        let mut state = self.lock();
        state.holds = state.jump(reading).is_some();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn jump(&mut self, reading: &Reading) -> Option<Jump> {
        let jump = reading.jump(&self.anchor, JUMP_MAX);
        if jump.is_none() {
            self.holds = false;
            if let Some(anchor) = reading.anchor(&self.anchor) {
                self.anchor = anchor;
            }
        }
        jump
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn start() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    /// Time that passes is believed however much it is, and so is a clock that goes back and comes forward again.
    #[test]
    fn a_jump_is_told_from_time_that_passes() {
        let (clock, hand) = Clock::manual(start());
        let watched = clock.watched();
        for _ in 0..100 {
            hand.advance(HOUR * 24 * 7);
            assert_eq!((watched.jump(), watched.now()), (None, clock.now()));
        }
        let before = clock.now();
        hand.set(start());
        assert_eq!((watched.jump(), watched.now()), (None, start()), "it may go back");
        hand.advance(HOUR * 2);
        assert_eq!(watched.now(), start() + HOUR * 2);
        hand.set(before + HOUR * 2 + JUMP_MAX);
        assert_eq!(watched.jump(), None, "it came forward again");
        hand.set(before + HOUR * 24);
        assert_eq!(watched.jump(), Some(Jump { wall: clock.now(), expected: before + HOUR * 2 }));
    }

    /// Steps that are no jumps may not add up to one faster than one an hour.
    #[test]
    fn small_steps_do_not_add_up() {
        let (clock, hand) = Clock::manual(start());
        let watched = clock.watched();
        for _ in 0..5 {
            hand.set(clock.now() + Duration::from_secs(59));
            assert_eq!(watched.jump(), None);
        }
        hand.set(clock.now() + Duration::from_secs(59));
        assert!(watched.jump().is_some());
    }

    /// Whoever has no clock that runs while it is off sets it when it finds the network.
    #[test]
    fn a_machine_may_set_its_clock_when_it_starts() {
        let (clock, hand) = Clock::manual(start());
        hand.reboot(Duration::ZERO);
        let watched = clock.watched();
        hand.advance(Duration::from_secs(60));
        hand.set(start() + HOUR * 24 * 365);
        assert_eq!(watched.jump(), None);
        hand.advance(HOUR);
        assert_eq!(watched.jump(), None);
        hand.set(start() + HOUR * 24 * 730);
        assert!(watched.jump().is_some());
    }

    /// What is deleted goes by the time since the start at once; the rest when it is known that the wall clock is
    /// wrong.
    #[test]
    fn a_jump_is_held_where_it_is_known_to_be_wrong() {
        let (clock, hand) = Clock::manual(start());
        let watched = clock.watched();
        let steady = watched.steady();
        watched.hold();
        hand.set(start() + HOUR * 24 * 3_650);
        hand.advance(HOUR);
        assert_eq!((watched.now(), steady.now()), (clock.now(), start() + HOUR), "not held before it jumped");
        watched.hold();
        hand.advance(HOUR);
        assert_eq!((watched.now(), steady.now()), (start() + HOUR * 2, start() + HOUR * 2));
        hand.set(start() + HOUR * 2);
        assert_eq!((watched.jump(), watched.now()), (None, start() + HOUR * 2));
        hand.set(start() + HOUR * 24);
        assert_eq!(watched.now(), clock.now(), "another jump may be right");
    }
}
