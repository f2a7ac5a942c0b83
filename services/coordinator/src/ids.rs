//! Ids of tasks, batches and runs. Time and randomness are arguments.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rand::{Rng as _, rngs::StdRng};
use uuid::Uuid;

/// Makes ids of version 7, which sort by the time they were made. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ids {
    random: Arc<Mutex<StdRng>>,
}

impl Ids {
    /// With a seeded source of randomness.
    pub(crate) fn new(random: StdRng) -> Self {
        Self { random: Arc::new(Mutex::new(random)) }
    }

    /// An id made at `now`.
    pub(crate) fn next(&self, now: Timestamp) -> Uuid {
        let mut bytes = [0; 10];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(millis(now), &bytes).into_uuid()
    }
}

/// When an id was made.
pub(crate) fn time_of(id: Uuid) -> Timestamp {
    let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |time| time.to_unix());
    let time = i64::try_from(seconds).ok().zip(i32::try_from(nanoseconds).ok());
    time.and_then(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn an_id_says_when_it_was_made() {
        let now: Timestamp = "2027-01-01T12:00:00.125Z".parse().unwrap();
        let id = Ids::new(StdRng::seed_from_u64(1)).next(now);
        assert_eq!(time_of(id), now);
        assert!(id < Ids::new(StdRng::seed_from_u64(2)).next(now + jiff::SignedDuration::from_millis(1)));
    }
}
