//! What a signer knows of the time. Its clock may lie: one that was ahead once, and is set right, must not end all
//! signing, and one that is ahead must not sign.

use std::time::Duration;

use jiff::Timestamp;
use rstuf_runtime::{ANCHOR_PERIOD, Reading, later};
use rstuf_store::{Batch, Store};

use crate::{
    Error, Result,
    rows::{self, ANCHOR, SEEN},
};

/// By how much clocks of honest machines may differ.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// How far the wall clock may go by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Further than time did, by the time since the machine started.
    pub jump_max: Duration,
    /// From the last time known to the next start of the machine.
    pub off_max: Duration,
}

/// The times that a signer remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// The highest time at which something was signed.
    pub seen: Option<Timestamp>,
    /// What the clocks are compared with: noted once an hour.
    pub anchor: Option<Reading>,
}

impl Times {
    pub(crate) fn load(store: &Store) -> Result<Self> {
        let seen = rows::row(store, SEEN)?.map(|second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX));
        Ok(Self { seen, anchor: rows::row(store, ANCHOR)? })
    }

    pub(crate) fn put(&self, batch: &mut Batch) {
        if let Some(seen) = self.seen {
            batch.put(SEEN, rows::encode(&seen.as_second()));
        }
        if let Some(anchor) = &self.anchor {
            batch.put(ANCHOR, rows::encode(anchor));
        }
    }

    /// Checks that the clock has not gone back behind the highest time at which something was signed, nor jumped
    /// forward: further than the time since the machine started did, or across a start of the machine further than it
    /// may have been off.
    ///
    /// # Errors
    /// [`Error::ClockWentBack`], [`Error::ClockJumped`].
    pub(crate) fn check(&self, now: &Reading, bounds: Bounds) -> Result<()> {
        if let Some(seen) = self.seen.filter(|seen| later(now.wall, CLOCK_SKEW_MAX) < *seen) {
            return Err(Error::ClockWentBack { now: now.wall, seen });
        }
        let Some(anchor) = &self.anchor else { return Ok(()) };
        let expected = match now.since(anchor) {
            Some(_) => now.jump(anchor, bounds.jump_max).map(|jump| (jump.expected, bounds.jump_max)),
            None => (now.wall > later(anchor.wall, bounds.off_max)).then_some((anchor.wall, bounds.off_max)),
        };
        match expected {
            Some((expected, max)) => Err(Error::ClockJumped { now: now.wall, expected, max }),
            None => Ok(()),
        }
    }

    /// What is remembered of a time that was checked, where that is more than before.
    pub(crate) fn noted(&self, now: &Reading) -> Option<Self> {
        let anchor = match &self.anchor {
            Some(anchor) if now.since(anchor).is_some() => now.anchor(anchor),
            Some(anchor) if now.boot.is_none() && now.wall < later(anchor.wall, ANCHOR_PERIOD) => None,
            // Until its clock is set, a machine that was started goes by the bound of that.
            _ if !now.is_settled() => None,
            Some(anchor) => Some(Reading { wall: now.wall.max(anchor.wall), ..now.clone() }),
            None => Some(now.clone()),
        };
        anchor.map(|anchor| Self { anchor: Some(anchor), ..self.clone() })
    }

    /// What is remembered when something is signed at a time that was checked.
    pub(crate) fn signed(&self, now: &Reading) -> Self {
        let noted = self.noted(now).unwrap_or_else(|| self.clone());
        Self { seen: self.seen.max(Some(now.wall)), ..noted }
    }
}

#[cfg(test)]
mod tests {
    use rstuf_runtime::Boot;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const BOUNDS: Bounds = Bounds { jump_max: Duration::from_secs(300), off_max: Duration::from_secs(30 * 24 * 3_600) };

    fn start() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    /// On the machine's start with this number, so long ago.
    fn at(wall: Duration, boot: u32, elapsed: Duration) -> Reading {
        Reading { wall: start() + wall, boot: Some(Boot { id: boot.to_string(), elapsed }) }
    }

    fn known() -> Times {
        Times::default().signed(&at(Duration::ZERO, 1, DAY))
    }

    fn judged(times: &Times, now: &Reading) -> &'static str {
        match times.check(now, BOUNDS) {
            Ok(()) => "believed",
            Err(Error::ClockWentBack { .. }) => "went back",
            Err(Error::ClockJumped { .. }) => "jumped",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_clock_is_believed_as_far_as_time_went() {
        let (second, minutes_5) = (Duration::from_secs(1), Duration::from_secs(300));
        let cases = [
            (at(minutes_5, 1, DAY), "believed"),
            (at(minutes_5 + second, 1, DAY), "jumped"),
            (at(DAY * 400, 1, DAY * 401), "believed"),
            (at(DAY * 401, 1, DAY * 401), "jumped"),
            (at(DAY * 30, 2, HOUR), "believed"),
            (at(DAY * 30 + second, 2, HOUR), "jumped"),
            (at(DAY * 31, 1, HOUR), "jumped"),
            (Reading { boot: None, ..at(DAY * 30, 1, HOUR) }, "believed"),
            (Reading { boot: None, ..at(DAY * 31, 1, HOUR) }, "jumped"),
        ];
        for (now, expected) in cases {
            assert_eq!(judged(&known(), &now), expected, "{now:?}");
        }
        let back = |seconds| Reading { wall: start() - Duration::from_secs(seconds), ..at(HOUR, 1, DAY) };
        assert_eq!([back(300), back(301)].map(|now| judged(&known(), &now)), ["believed", "went back"]);
        assert_eq!(judged(&Times::default(), &at(DAY * 3_650, 1, HOUR)), "believed", "nothing is known yet");
    }

    /// A machine that was off for forty days in all, but never for more than its bound, and one whose clock is set
    /// late.
    #[test]
    fn what_is_known_follows_the_machine() {
        let times = known();
        let (wrong, right) = (at(Duration::ZERO, 2, HOUR / 60), at(DAY * 20, 2, HOUR / 30));
        assert_eq!(times.noted(&wrong), None, "its clock may be set any moment");
        assert_eq!(judged(&times, &right), "believed");
        let times = times.noted(&at(DAY * 20 + HOUR, 2, HOUR)).unwrap();
        assert_eq!(judged(&times, &at(DAY * 40, 2, HOUR * 2)), "jumped");
        assert_eq!(times.noted(&at(DAY * 20 + HOUR * 2 - HOUR / 2, 2, HOUR * 2 - HOUR / 2)), None, "not so often");
        assert_eq!(judged(&times, &at(DAY * 40, 3, HOUR)), "believed");
        let without = |wall| Reading { boot: None, ..at(wall, 1, HOUR) };
        let times = times.noted(&without(DAY * 21)).unwrap();
        assert_eq!(times.noted(&without(DAY * 21 + HOUR / 2)), None);
        assert_eq!(times.noted(&without(DAY * 22)).unwrap().anchor, Some(without(DAY * 22)));
    }

    /// An hour of a clock that went back is no reason to refuse it when it comes forward again.
    #[test]
    fn a_clock_may_come_forward_again() {
        let times = Times { seen: None, ..known() };
        let back = Reading { wall: start() - DAY, ..at(Duration::ZERO, 1, DAY + HOUR) };
        let times = times.noted(&back).unwrap();
        assert_eq!(judged(&times, &at(HOUR * 2, 1, DAY + HOUR * 2)), "believed");
    }
}
