//! How many artifacts may be removed: whoever has stolen the coordinator must not empty the repository at once.

use std::{collections::BTreeMap, str::FromStr};

use jiff::Timestamp;
use rstuf_signing::{Reset, Result, rows};
use rstuf_store::Store;
use rstuf_tuf::RoleName;
use serde::{Deserialize, Serialize};

/// Rows of what was removed, by role.
const REMOVALS: &str = "removals/";
const HOUR_SECONDS: i64 = 3_600;
/// Removals count for so many hours after the one in which they were made.
const HOURS: i64 = 24;

/// What a role may lose: a number of its artifacts, or a share of them where that is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    number: u64,
    percent: u64,
}

impl Allowance {
    /// Of so many artifacts.
    fn of(self, artifacts: u64) -> u64 {
        self.number.max(artifacts.saturating_mul(self.percent) / 100)
    }
}

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let allowed = || "allowed are a number such as 100, a share such as 5%, and both as 100 or 5%".to_owned();
        let number = |text: &str| text.trim().parse::<u32>().map(u64::from).map_err(|_| allowed());
        let share = |text: &str| {
            let percent = number(text.trim().strip_suffix('%').ok_or_else(allowed)?)?;
            if percent <= 100 { Ok(percent) } else { Err(format!("{percent}% is more than all, {}", allowed())) }
        };
        let (number, percent) = match text.split_once(" or ") {
            Some((left, right)) => (number(left)?, share(right)?),
            None if text.contains('%') => (0, share(text)?),
            None => (number(text)?, 0),
        };
        Ok(Self { number, percent })
    }
}

/// How much may be removed of each role; without limit where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub publication: Option<Allowance>,
    pub day: Option<Allowance>,
}

impl Limits {
    /// Whether there is any.
    pub(crate) fn is_any(&self) -> bool {
        self.publication.is_some() || self.day.is_some()
    }
}

/// What the last day did to one role, by the hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct History(Vec<Hour>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hour {
    /// Hours since 1970.
    number: i64,
    /// Artifacts that the role would have had when it began, had nothing been removed in the day before.
    artifacts: u64,
    removed: u64,
}

impl History {
    /// What may be removed now from a role of so many artifacts. A share is one of the fewest that the role had within
    /// the day: nobody makes room for removals by adding what is nothing worth.
    pub(crate) fn allowed(&self, limits: Limits, artifacts: u64, now: Timestamp) -> u64 {
        let last: Vec<_> = self.last_day(now).collect();
        let removed = last.iter().map(|hour| hour.removed).sum::<u64>();
        let fewest = last.iter().map(|hour| hour.artifacts).fold(artifacts + removed, u64::min);
        let publication = limits.publication.map_or(u64::MAX, |allowance| allowance.of(fewest));
        let day = limits.day.map_or(u64::MAX, |allowance| allowance.of(fewest).saturating_sub(removed));
        publication.min(day)
    }

    /// What it is after a publication that removes so many of so many artifacts.
    pub(crate) fn after(&self, artifacts: u64, removed: u64, now: Timestamp) -> Self {
        let mut hours: Vec<_> = self.last_day(now).cloned().collect();
        match hours.last_mut().filter(|last| last.number >= hour(now)) {
            Some(last) => last.removed += removed,
            None => {
                let before = hours.iter().map(|hour| hour.removed).sum::<u64>();
                hours.push(Hour { number: hour(now), artifacts: artifacts + before, removed });
            }
        }
        Self(hours)
    }

    /// The same, of a clock that says `now`: what was removed at a time that has not come yet is removed now.
    fn removed_by(&self, now: Timestamp) -> Self {
        Self(self.0.iter().map(|it| Hour { number: it.number.min(hour(now)), ..it.clone() }).collect())
    }

    fn last_day(&self, now: Timestamp) -> impl Iterator<Item = &Hour> {
        self.0.iter().filter(move |it| it.number >= hour(now) - HOURS)
    }
}

fn hour(time: Timestamp) -> i64 {
    time.as_second().div_euclid(HOUR_SECONDS)
}

/// What the targets signer remembers beside what all do.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By role; kept while there are limits.
    pub removals: BTreeMap<RoleName, History>,
}

impl Memory {
    pub(crate) fn load(store: &Store) -> Result<Self> {
        let mut removals = BTreeMap::new();
        rows::each_role(store, REMOVALS, |role, value| {
            let row = rows::decode(role.as_str(), value)?;
            removals.insert(role, row);
            Ok(())
        })?;
        Ok(Self { removals })
    }

    /// What is known of a role.
    pub(crate) fn of(&self, role: &RoleName) -> History {
        self.removals.get(role).cloned().unwrap_or_default()
    }
}

/// Sets right what a wrong clock left behind.
pub(crate) fn reset(store: &Store, reset: &mut Reset) -> Result<()> {
    for (role, history) in Memory::load(store)?.removals {
        let right = history.removed_by(reset.now());
        if right != history {
            reset.put(
                row(&role),
                rows::encode(&right),
                format!("removals of {role}: counted at a time to come before, for a day from now on"),
            );
        }
    }
    Ok(())
}

/// The row of a role's history.
pub(crate) fn row(role: &RoleName) -> String {
    format!("{REMOVALS}{role}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * HOUR_SECONDS).unwrap()
    }

    #[test]
    fn reads_a_number_a_share_and_both() {
        let read = |text: &str| text.parse::<Allowance>();
        for (text, of_ten, of_thousand) in [("0", 0, 0), ("3", 3, 3), ("5%", 0, 50), ("3 or 5%", 3, 50)] {
            let allowance = read(text).unwrap();
            assert_eq!((allowance.of(10), allowance.of(1_000)), (of_ten, of_thousand), "{text}");
        }
        for text in ["", "-1", "5 %%", "101%", "5% or 3", "3 or 5", "all"] {
            assert!(read(text).unwrap_err().contains("allowed are a number"), "{text}");
        }
    }

    #[test]
    fn what_was_added_within_the_day_makes_no_room() {
        let limits = Limits { publication: None, day: Some("20%".parse().unwrap()) };
        let history = History::default().after(100, 0, at(0));
        assert_eq!(history.allowed(limits, 100_000, at(1)), 20);
        assert_eq!(history.allowed(limits, 100_000, at(25)), 20_000);
        // What was removed counts for a day, whatever else is signed.
        let history = history.after(100_000, 15, at(1)).after(100_000, 0, at(2));
        assert_eq!(history.allowed(limits, 100_000, at(24)), 5);
    }

    /// What a clock ten years ahead counted would count for ten years and a day.
    #[test]
    fn a_reset_counts_what_is_to_come_for_a_day() {
        let limits = Limits { publication: None, day: Some("10".parse().unwrap()) };
        let ahead = History::default().after(100, 10, at(87_600));
        assert_eq!(ahead.allowed(limits, 90, at(1_000)), 0);
        let right = ahead.removed_by(at(0));
        assert_eq!((right.allowed(limits, 90, at(24)), right.allowed(limits, 90, at(25))), (0, 10));
    }

    proptest! {
        /// Whatever is tried, and whenever: within a day no more is gone than the share of what was there before.
        #[test]
        fn no_day_takes_more_than_it_may(tries in prop::collection::vec((0..300_u64, 0..9_i64), 1..200)) {
            let limits = Limits { publication: Some("50".parse().unwrap()), day: Some("30 or 10%".parse().unwrap()) };
            let (mut history, mut artifacts, mut now) = (History::default(), 1_000_u64, 0);
            let mut removed = Vec::new();
            for (wanted, pause) in tries {
                now += pause;
                let allowed = history.allowed(limits, artifacts, at(now));
                prop_assert!(allowed <= 100);
                let taken = wanted.min(allowed).min(artifacts);
                history = history.after(artifacts, taken, at(now));
                artifacts -= taken;
                removed.push((now, taken));
                let day = removed.iter().filter(|(hour, _)| *hour > now - 24).map(|(_, count)| count).sum::<u64>();
                prop_assert!(day <= 100, "{} at {}", day, now);
            }
            prop_assert!(history.0.len() <= 25);
        }
    }
}
