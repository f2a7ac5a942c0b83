//! Times and durations: what stands in TUF metadata has whole seconds.

use std::time::Duration;

use crate::Violation;

/// The largest `google.protobuf.Duration`, some 10,000 years.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// A time as messages hold it.
pub fn timestamp_message(time: jiff::Timestamp) -> prost_types::Timestamp {
    // Nanoseconds count forward, also before 1970.
    let nanos = time.as_nanosecond().rem_euclid(1_000_000_000);
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or_default(),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

/// Reads a time of whole seconds.
///
/// # Errors
/// The violation names `field`.
pub fn timestamp(field: &str, message: Option<prost_types::Timestamp>) -> Result<jiff::Timestamp, Violation> {
    let refuse = |description: String| Violation { field: field.to_owned(), description };
    let message = message.ok_or_else(|| refuse("missing".to_owned()))?;
    if message.nanos != 0 {
        return Err(refuse(format!("{} nanoseconds in it, allowed are whole seconds", message.nanos)));
    }
    let (min, max) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let allowed = || refuse(format!("{} s since 1970, allowed are {min} to {max}", message.seconds));
    jiff::Timestamp::from_second(message.seconds).map_err(|_| allowed())
}

/// A duration as messages hold it.
pub fn duration_message(duration: Duration) -> prost_types::Duration {
    let seconds = duration.as_secs().min(DURATION_SECONDS_MAX);
    prost_types::Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// Reads a duration of whole seconds.
///
/// # Errors
/// The violation names `field`.
pub fn duration(field: &str, message: Option<prost_types::Duration>) -> Result<Duration, Violation> {
    let refuse = |description: String| Violation { field: field.to_owned(), description };
    let message = message.ok_or_else(|| refuse("missing".to_owned()))?;
    if message.nanos != 0 {
        return Err(refuse(format!("{} nanoseconds in it, allowed are whole seconds", message.nanos)));
    }
    let seconds = u64::try_from(message.seconds).ok().filter(|seconds| *seconds <= DURATION_SECONDS_MAX);
    let allowed = || refuse(format!("{} s, allowed are 0 to {DURATION_SECONDS_MAX}", message.seconds));
    Ok(Duration::from_secs(seconds.ok_or_else(allowed)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_whole_seconds_within_range_are_taken_and_the_field_is_named() {
        let good = prost_types::Duration { seconds: 90, nanos: 0 };
        assert_eq!(duration("lifetimes.bins", Some(good)).unwrap(), Duration::from_secs(90));
        assert_eq!(duration_message(Duration::from_secs(90)), good);
        let too_long = i64::try_from(DURATION_SECONDS_MAX).unwrap() + 1;
        for (seconds, nanos) in [(-1, 0), (0, -1), (1, 1), (-1, -1), (too_long, 0), (i64::MIN, 0), (i64::MAX, i32::MAX)]
        {
            let refused = duration("lifetimes.bins", Some(prost_types::Duration { seconds, nanos })).unwrap_err();
            assert_eq!(refused.field, "lifetimes.bins", "{seconds} {nanos}");
        }
        assert!(duration("lifetimes.bins", None).unwrap_err().description.contains("missing"));

        let expires = prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 };
        let read = timestamp("revision.expires", Some(expires)).unwrap();
        assert_eq!((read.as_second(), timestamp_message(read)), (1_800_000_000, expires));
        for (seconds, nanos) in [(0, 1), (0, -1), (i64::MAX, 0), (i64::MIN, 0), (0, 1_000_000_000)] {
            let refused = timestamp("revision.expires", Some(prost_types::Timestamp { seconds, nanos })).unwrap_err();
            assert_eq!(refused.field, "revision.expires", "{seconds} {nanos}");
            let value = if nanos == 0 { seconds } else { nanos.into() };
            assert!(refused.description.starts_with(&value.to_string()), "{refused}");
            assert!(refused.description.contains("allowed are"), "{refused}");
        }
        assert!(timestamp("revision.expires", None).is_err());
    }

    #[test]
    fn times_before_1970_have_nanoseconds_that_count_forward() {
        let time = jiff::Timestamp::from_nanosecond(-1).unwrap();
        assert_eq!(timestamp_message(time), prost_types::Timestamp { seconds: -1, nanos: 999_999_999 });
    }
}
