//! How fast versions may rise: who reaches a signer, or has stolen another one's key, must not push a role to the last
//! version that clients take, 2^31 - 1.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Versions by which a role may rise at once after a quiet time.
const BURST: i64 = 1_000;
/// What a version costs, in milliseconds: four a second in the long run, so that all of them last 17 years.
const VERSION_MILLIS: i64 = 250;

/// What is spent of a role's versions: the time, in milliseconds since 1970, at which those used so far would have been
/// due, one a `VERSION_MILLIS`. It may lie `BURST` versions ahead of the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Budget(i64);

impl Budget {
    /// Spends what a document costs that the own key is to sign, `rise` versions above the last. What was not used
    /// before counts for a burst only.
    ///
    /// # Errors
    /// How long to wait until it is there.
    pub(crate) fn spend(self, rise: u64, now: Timestamp) -> Result<Self, Duration> {
        self.with(self.0.max(now.as_millisecond()), rise, now)
    }

    /// Spends what a document costs that was shown as evidence, `rise` versions above the one shown last. Others may
    /// have signed four a second all the time since then, while this signer was away.
    ///
    /// # Errors
    /// How long to wait until it is there.
    pub(crate) fn follow(self, rise: u64, now: Timestamp) -> Result<Self, Duration> {
        let Self(due) = self.with(self.0, rise, now)?;
        Ok(Self(due.max(now.as_millisecond())))
    }

    /// The same, of a clock that says `now`: what was spent at a time that has not come yet is spent now, so that four
    /// a second are there from now on.
    pub(crate) fn spent_by(self, now: Timestamp) -> Self {
        Self(self.0.min(now.as_millisecond() + BURST * VERSION_MILLIS))
    }

    /// When the versions used so far would have been due.
    pub(crate) fn due(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX)
    }

    fn with(self, from: i64, rise: u64, now: Timestamp) -> Result<Self, Duration> {
        let cost = i64::try_from(rise).unwrap_or(i64::MAX).saturating_mul(VERSION_MILLIS);
        let (due, latest) = (from.saturating_add(cost), now.as_millisecond() + BURST * VERSION_MILLIS);
        match u64::try_from(due.saturating_sub(latest)) {
            Ok(0) | Err(_) => Ok(Self(due)),
            Ok(early) => Err(Duration::from_millis(early)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    proptest! {
        /// Whatever is asked for, and whenever: over any time no more than a burst and four a second; and whoever waits
        /// as long as he is told is let through.
        #[test]
        fn versions_rise_no_faster_than_the_budget(asked in prop::collection::vec((1..=16_u64, 0..3_000_i64), 1..400)) {
            let (mut budget, mut now, mut spent) = (Budget::default(), 0, 0);
            for (rise, pause) in asked {
                now += pause;
                match budget.spend(rise, at(now)) {
                    Ok(rest) => {
                        budget = rest;
                        spent += rise;
                    }
                    Err(wait) => {
                        let later = at(now + i64::try_from(wait.as_millis()).unwrap());
                        prop_assert!(budget.spend(rise, later).is_ok());
                    }
                }
                prop_assert!(spent <= 1_000 + u64::try_from(now).unwrap() / 250);
            }
        }
    }

    /// Evidence may have risen by four a second since the last, on top of a burst, and not by more.
    #[test]
    fn evidence_counts_from_what_was_seen_last() {
        let day = 24 * 3_600 * 1_000;
        let seen = Budget::default().follow(2_000_000_000, at(0)).unwrap();
        for (after, most) in [(0, 1_000), (250, 1_001), (30 * day, 1_000 + 30 * 4 * 24 * 3_600)] {
            assert!(seen.follow(most, at(after)).is_ok(), "{after}");
            assert!(seen.follow(most + 1, at(after)).is_err(), "{after}");
        }
        let again = seen.follow(1_000, at(0)).unwrap();
        assert_eq!(again.follow(1, at(0)), Err(Duration::from_millis(250)));
        assert!(again.follow(1, at(250)).is_ok());
    }
}
