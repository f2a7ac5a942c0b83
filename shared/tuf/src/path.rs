//! Paths of targets, and the patterns and prefixes by which roles are trusted with them.

use std::fmt;

use unicode_normalization::is_nfc;

use crate::{Error, Sha256, macros::text_type, text};

/// The path of a target, relative to the base of all targets; it can't name anything outside.
///
/// `/`-separated; no leading or trailing `/`, no empty, `.` or `..` segment; no control characters, no `\`, no dot,
/// slash, backslash or NUL in percent-encoding (a server might decode it); at most [`TargetPath::BYTES_MAX`] bytes;
/// Unicode in normal form C, so that no two paths look the same. Case is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetPath(Box<str>);

impl TargetPath {
    /// Longest path, in bytes of UTF-8.
    pub const BYTES_MAX: usize = 1024;

    fn parse(text: &str) -> Result<Self, Error> {
        match fault(text) {
            Some(allowed) => Err(Error::invalid("target path", text, allowed)),
            None => Ok(Self(text.into())),
        }
    }

    /// Whether a text is a path of ordinary letters, digits and signs, in segments that end with one other than a dot.
    /// Nearly every path is, and none that is breaks a rule or fails to look like what it is: one look at each byte
    /// tells, because paths are checked by the million wherever they arrive.
    #[must_use]
    pub fn is_plain(text: &str) -> bool {
        let ends_segment = |byte: u8| !matches!(byte, b'/' | b'.');
        let mut last = b'/';
        for byte in text.bytes() {
            match byte {
                b'/' if ends_segment(last) => {}
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {}
                b'-' | b'.' | b'_' | b'+' | b'=' | b'@' | b':' | b'~' | b',' => {}
                _ => return false,
            }
            last = byte;
        }
        ends_segment(last) && text.len() <= Self::BYTES_MAX
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that the path looks like what it is: no character in it is invisible or turns the direction of others,
    /// and no segment begins or ends with a space.
    /// Documents may have such paths from elsewhere, so this is asked of what is added.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the first such character, or the rule.
    pub fn check_visible(&self) -> Result<(), Error> {
        if Self::is_plain(&self.0) {
            return Ok(());
        }
        if self.0.split('/').any(|segment| segment.starts_with(' ') || segment.ends_with(' ')) {
            return Err(Error::invalid("target path", self, "no space at the beginning or the end of a segment"));
        }
        let Some(hidden) = self.0.chars().find(|character| text::is_hidden(*character)) else { return Ok(()) };
        let allowed = format!(
            "no invisible characters and none that turn the direction of others, it has {}",
            text::code_point(hidden)
        );
        Err(Error::invalid("target path", self, allowed))
    }

    /// Where a repository keeps the target with this digest, relative to the base of all targets: `DIR/HASH.NAME` (TUF
    /// specification, section 6.2).
    #[must_use]
    pub fn with_digest(&self, digest: Sha256) -> String {
        match self.0.rsplit_once('/') {
            Some((directory, name)) => format!("{directory}/{digest}.{name}"),
            None => format!("{digest}.{self}"),
        }
    }

    /// The SHA-256 of the path, by which bins and hash prefixes choose.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.0.as_bytes())
    }
}

/// What a path breaks, as the rule that it breaks.
fn fault(text: &str) -> Option<&'static str> {
    if TargetPath::is_plain(text) { None } else { fault_of_any(text) }
}

fn fault_of_any(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > TargetPath::BYTES_MAX {
        return Some("1 to 1024 bytes");
    }
    if text.chars().any(char::is_control) {
        return Some("no control characters");
    }
    if text.contains('\\') {
        return Some("no backslash, `/` separates");
    }
    if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Some("no leading, trailing or double `/`, no segment `.` or `..`");
    }
    if has_encoded_separator(text) {
        return Some("no percent-encoded `.`, `/`, `\\` or NUL");
    }
    if !text.is_ascii() && !is_nfc(text) {
        return Some("Unicode in normal form C");
    }
    None
}

fn has_encoded_separator(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|code| {
            [b"2e", b"2f", b"5c", b"00"].iter().any(|unsafe_code| code.eq_ignore_ascii_case(*unsafe_code))
        })
    })
}

impl fmt::Display for TargetPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for TargetPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Borrowing by text keeps the order and the hash of the path, so maps can be searched by `&str`.
impl std::borrow::Borrow<str> for TargetPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

text_type!(TargetPath);

/// A pattern of target paths (TUF specification, section 4.5, PATHPATTERN): `*` stands for any characters and `?` for
/// one, neither for a `/`.
///
/// `[`, `]` and `\` are refused, because clients disagree about them; so is what no [`TargetPath`] could match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern(Box<str>);

impl PathPattern {
    fn parse(text: &str) -> Result<Self, Error> {
        let allowed = match fault(text) {
            Some(allowed) => allowed,
            None if text.contains(['[', ']']) => "`*` and `?` as wildcards, no brackets",
            None => return Ok(Self(text.into())),
        };
        Err(Error::invalid("path pattern", text, allowed))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern covers `path`.
    #[must_use]
    pub fn matches(&self, path: &TargetPath) -> bool {
        let mut segments = path.as_str().split('/');
        let all = self.0.split('/').all(|glob| segments.next().is_some_and(|segment| glob_matches(glob, segment)));
        all && segments.next().is_none()
    }
}

/// Matches within one segment, in time proportional to the product of the lengths: at a mismatch only the last `*`
/// takes one character more.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    let mut retry = None;
    loop {
        let (glob_before, text_before) = (glob.clone(), text.clone());
        match (glob.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = text_before.clone();
                retry = Some((glob_before, text_before));
                continue;
            }
            (Some('?'), Some(_)) => continue,
            (Some(wanted), Some(found)) if wanted == found => continue,
            _ => {}
        }
        let Some((star, mut rest)) = retry.take() else { return false };
        if rest.next().is_none() {
            return false;
        }
        text = rest.clone();
        glob = star.clone();
        glob.next();
        retry = Some((star, rest));
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

text_type!(PathPattern);

/// The first 1 to 64 hexadecimal digits (lower case) of the SHA-256 of the paths that it covers (TUF specification,
/// section 4.5, `path_hash_prefixes`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashPrefix(Box<str>);

impl HashPrefix {
    fn parse(text: &str) -> Result<Self, Error> {
        if !(1..=64).contains(&text.len()) || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::invalid("path hash prefix", text, "1 to 64 lower-case hexadecimal digits"));
        }
        Ok(Self(text.into()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the prefix covers `path`.
    #[must_use]
    pub fn matches(&self, path: &TargetPath) -> bool {
        path.digest().to_string().starts_with(&*self.0)
    }
}

impl fmt::Display for HashPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for HashPrefix {
    fn borrow(&self) -> &str {
        &self.0
    }
}

text_type!(HashPrefix);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_visible(text: &str) -> bool {
        !text.split('/').any(|segment| segment.starts_with(' ') || segment.ends_with(' '))
            && !text.chars().any(text::is_hidden)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// What is plain breaks no rule, so nobody needs to look further.
        #[test]
        fn what_is_plain_breaks_no_rule(text in "[a/.b\u{ad}%2e\\\\ \u{7f}é0-9_@:~=,+-]{0,12}") {
            let breaks_none = fault_of_any(&text).is_none() && is_visible(&text);
            prop_assert!(!TargetPath::is_plain(&text) || breaks_none, "{}", text);
        }
    }

    #[test]
    fn ordinary_paths_are_plain_and_odd_ones_go_the_long_way() {
        for plain in ["a", "project-1/v1.0+b~2/x_y@z:1,2=3.tar.gz", ".a/..b/...c", &"x".repeat(1024)] {
            assert!(TargetPath::is_plain(plain) && fault_of_any(plain).is_none() && is_visible(plain), "{plain}");
        }
        for odd in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "./a", "a/../b", "a./b", "a b", "a%", "é"] {
            assert!(!TargetPath::is_plain(odd), "{odd}");
        }
        assert!(!TargetPath::is_plain(&"x".repeat(1025)));
    }
}
