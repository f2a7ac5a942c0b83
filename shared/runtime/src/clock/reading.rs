//! What the clocks of a machine say: the wall clock, which anybody may set, and the time since the machine started.

use std::{fs, sync::OnceLock, time::Duration};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Where Linux says which start of the machine this is.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// How often readings are compared with a newer one.
pub const ANCHOR_PERIOD: Duration = Duration::from_secs(3_600);
/// How long after its start a machine may still have its wall clock set, by whatever time it was off.
const SETTLED_AFTER: Duration = Duration::from_secs(10 * 60);

/// What the clocks say at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// The time since the machine started; none where the system does not tell it.
    pub boot: Option<Boot>,
}

/// Time that nobody can set: it counts from the start of the machine, also while that is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Which start of the machine this is.
    pub id: String,
    /// How long ago that was.
    pub elapsed: Duration,
}

impl Reading {
    #[allow(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    pub(super) fn wall_now() -> Timestamp {
        Timestamp::now()
    }

    pub(super) fn now() -> Self {
        let boot = boot_id().map(|id| {
            let time = clock_gettime(ClockId::Boottime);
            let seconds = Duration::from_secs(time.tv_sec.try_into().unwrap_or_default());
            Boot { id: id.to_owned(), elapsed: seconds + Duration::from_nanos(time.tv_nsec.try_into().unwrap_or(0)) }
        });
        Self { wall: Self::wall_now(), boot }
    }

    /// How much later than `before` this was read, by the time since the machine started; none where it was started
    /// anew in between, or nobody can tell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Duration> {
        let (boot, before) = (self.boot.as_ref()?, before.boot.as_ref()?);
        // Less time than before: a container with a count of its own.
        if boot.id == before.id { boot.elapsed.checked_sub(before.elapsed) } else { None }
    }

    /// Whether the machine has been up for long enough that its wall clock is set.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.boot.as_ref().is_none_or(|boot| boot.elapsed >= SETTLED_AFTER)
    }

    /// That the wall clock went further since `before` than time did, by more than `max` and a thousandth of that time,
    /// in which clocks are set right little by little. None also where nobody can tell: across a start of the machine,
    /// and from before it was settled.
    #[must_use]
    pub fn jump(&self, before: &Self, max: Duration) -> Option<Jump> {
        let passed = self.since(before).filter(|_| before.is_settled())?;
        let expected = later(before.wall, passed);
        (self.wall > later(expected, max + passed / 1_000)).then_some(Jump { wall: self.wall, expected })
    }

    /// What later readings are compared with, instead of `before`, when this one did not jump: it is taken once an
    /// hour, so that steps which are no jumps are few, and never an earlier time, so that a clock which went back may
    /// come forward again. None where `before` still holds, or was read before the machine was started.
    #[must_use]
    pub fn anchor(&self, before: &Self) -> Option<Self> {
        if !before.is_settled() {
            return Some(self.clone());
        }
        let passed = self.since(before).filter(|passed| *passed >= ANCHOR_PERIOD)?;
        Some(Self { wall: self.wall.max(later(before.wall, passed)), boot: self.boot.clone() })
    }
}

/// A wall clock that is further ahead than time can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// What it says.
    pub wall: Timestamp,
    /// What it should say, by the time since the machine started.
    pub expected: Timestamp,
}

/// `period` after `start`, or the last representable time where that is earlier.
#[must_use]
pub fn later(start: Timestamp, period: Duration) -> Timestamp {
    start.checked_add(period).unwrap_or(Timestamp::MAX)
}

/// The same for as long as the machine runs.
fn boot_id() -> Option<&'static str> {
    static ID: OnceLock<Option<String>> = OnceLock::new();
    let read = || match fs::read_to_string(BOOT_ID_FILE) {
        Ok(id) => Some(id.trim().to_owned()),
        Err(error) => {
            tracing::warn!(file = BOOT_ID_FILE, %error, "the clock can't be held against the time since the start");
            None
        }
    };
    ID.get_or_init(read).as_deref()
}
