//! Version numbers and times of documents.

use std::fmt;

use crate::Error;

/// The version of a document, 1 to 2^31 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u32);

impl Version {
    /// The first version, 1.
    pub const ONE: Self = Self(1);
    /// The last version, 2^31 - 1: what clients in every language can count to.
    pub const MAX: Self = Self((1 << 31) - 1);

    /// A checked version.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0 and above [`Version::MAX`].
    pub fn new(value: u32) -> Result<Self, Error> {
        Self::try_from(u64::from(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The version after this one, unless this is the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self < Self::MAX).then(|| Self(self.0 + 1))
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        match text.parse::<u64>() {
            Ok(value) if digits => Self::try_from(value),
            _ => Err(Error::invalid("version", text, "1 to 2147483647")),
        }
    }
}

impl TryFrom<u64> for Version {
    type Error = Error;

    fn try_from(value: u64) -> Result<Self, Error> {
        match u32::try_from(value) {
            Ok(version) if (Self::ONE.0..=Self::MAX.0).contains(&version) => Ok(Self(version)),
            _ => Err(Error::invalid("version", value, "1 to 2147483647")),
        }
    }
}

impl From<Version> for u32 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0.into()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        Self::try_from(value).map_err(serde::de::Error::custom)
    }
}

/// The time without the rest of its second, which documents don't hold.
#[must_use]
pub fn whole_seconds(time: jiff::Timestamp) -> jiff::Timestamp {
    // The second of a time is a time.
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Reads `YYYY-MM-DDTHH:MM:SSZ` and nothing else (TUF specification, section 4.2.1).
pub(crate) fn parse_time(text: &str) -> Result<jiff::Timestamp, Error> {
    let shaped = text.len() == 20
        && text.bytes().zip(b"dddd-dd-ddTdd:dd:ddZ").all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == *shape,
        });
    let time = shaped.then(|| text.parse::<jiff::Timestamp>().ok()).flatten();
    // A leap second or a day that does not exist would be written differently from how it was read.
    time.filter(|time| format_time(*time) == text).ok_or_else(|| {
        Error::invalid(
            "expires",
            text,
            format!("a time like 2030-01-31T23:59:59Z, at most {}", format_time(jiff::Timestamp::MAX)),
        )
    })
}

/// Writes `YYYY-MM-DDTHH:MM:SSZ`, whole seconds.
pub(crate) fn format_time(time: jiff::Timestamp) -> String {
    whole_seconds(time).to_string()
}
