//! Parsers of settings; each error says what is allowed.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use crate::telemetry::LogFormat;

/// Anything that parses itself; its own error must say what is allowed.
///
/// # Errors
/// That of the type.
pub fn from_str<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.parse()
}

/// `true` or `false`.
///
/// # Errors
/// For anything else.
pub fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "not a boolean, allowed are true and false".to_owned())
}

/// A whole number within `range`.
pub fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| {
        let allowed = format!("allowed are whole numbers from {} to {}", range.start(), range.end());
        let number = text.parse().map_err(|_| format!("not such a number, {allowed}"))?;
        if range.contains(&number) { Ok(number) } else { Err(format!("out of range, {allowed}")) }
    }
}

/// Whole seconds within `range`.
pub fn seconds(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| integer(range.clone())(text).map(Duration::from_secs)
}

/// Whole days of 24 hours within `range`.
pub fn days(range: RangeInclusive<u32>) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| integer(range.clone())(text).map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60))
}

/// An address to listen on; port 0 picks a free one.
///
/// # Errors
/// For anything else, host names included.
pub fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not a socket address, allowed is IP:PORT such as 127.0.0.1:50051 or [::1]:0".to_owned())
}

/// Another service's address, `http://HOST:PORT`.
///
/// # Errors
/// For anything that [`crate::connect`] would refuse.
pub fn uri(text: &str) -> Result<String, String> {
    crate::client::check(text).map_err(|error| format!("{}, allowed is http://HOST:PORT", error.reason))?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// A path that is not empty and has no NUL.
///
/// # Errors
/// For anything else.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("not a path, allowed is any that is not empty and has no NUL".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// One of a few words.
pub fn one_of<T: Clone>(words: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = words.iter().find(|it| it.0 == text).map(|it| it.1.clone());
        let names = || words.iter().map(|it| it.0).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("unknown, allowed are {}", names()))
    }
}

/// `human` or `json`.
///
/// # Errors
/// For anything else.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    one_of(&[("human", LogFormat::Human), ("json", LogFormat::Json)])(text)
}

/// Directives for [`crate::telemetry::init`].
///
/// # Errors
/// Where it would refuse them.
pub fn log_filter(text: &str) -> Result<String, String> {
    let allowed = |error| format!("{error}, allowed are directives such as warn,rstuf=debug");
    crate::telemetry::check_filter(text).map_err(allowed)?;
    Ok(text.to_owned())
}
