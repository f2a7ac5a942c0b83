//! Request ids: what makes a request safe to repeat.

use std::{fmt, str::FromStr};

use crate::{Violation, convert::violation};

/// The name that a caller gives to one request: the same id and body again is the same task. 1 to 128 printable ASCII
/// characters; spaces may stand within, not at an end, where nobody would see them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<str>);

/// Why a text is no request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}`, allowed are 1 to {} printable ASCII characters, without a space at an end",
    .0.escape_default(),
    RequestId::BYTES_MAX
)]
pub struct NoRequestId(String);

impl RequestId {
    /// Longest id, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Reads the field of a message, where empty stands for none.
    ///
    /// # Errors
    /// The violation names `field`.
    pub fn optional(field: &str, text: &str) -> Result<Option<Self>, Violation> {
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(violation(field)) }
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = NoRequestId;

    fn from_str(text: &str) -> Result<Self, NoRequestId> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        // What is much too long is not repeated whole.
        let shown = || text.chars().take(Self::BYTES_MAX + 1).collect();
        if printable && fits && text.trim() == text { Ok(Self(text.into())) } else { Err(NoRequestId(shown())) }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_people_and_build_systems_call_their_builds() {
        let longest = "x".repeat(RequestId::BYTES_MAX);
        for good in ["7", "build 7", "Release #7 (main)", "org/repo@1.2:3", &longest] {
            assert_eq!(good.parse::<RequestId>().map(|id| id.to_string()).as_deref(), Ok(good));
        }
        let too_long = "x".repeat(RequestId::BYTES_MAX + 1);
        for bad in ["", " ", " 7", "7 ", "a\tb", "a\nb", "ümlaut", "a\u{200b}b", "\u{7f}", &too_long] {
            let refused = bad.parse::<RequestId>().expect_err(bad);
            assert!(!refused.to_string().contains(char::is_control), "{refused}");
        }
        assert_eq!(RequestId::optional("request_id", ""), Ok(None));
        assert_eq!(RequestId::optional("request_id", " ").map_err(|it| it.field), Err("request_id".to_owned()));
    }
}
