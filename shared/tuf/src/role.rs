//! Names of roles.

use std::fmt;

use crate::{Error, macros::text_type};

/// The four top-level roles, which are also the types of documents (`_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopLevel {
    /// Names the keys of the top-level roles.
    Root,
    /// Lists targets, or delegates them; delegated roles have this type too.
    Targets,
    /// Lists the versions of all targets roles.
    Snapshot,
    /// Names the latest snapshot.
    Timestamp,
}

impl TopLevel {
    /// All of them, in the order in which they are published.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The name, as `_type` and in `roles`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Error::none_of("role", text, Self::ALL.map(Self::as_str)))
    }
}

impl fmt::Display for TopLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

text_type!(TopLevel);

/// The name of any role: one of the four top-level roles, or of a delegated one.
///
/// `[a-z0-9_-]`, 1 to 64 bytes, not digits alone: such a name is safe as a file name, can't be taken for a top-level
/// role in another case, nor for one with a version before it (`1.root.json`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(Box<str>);

impl RoleName {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    fn parse(text: &str) -> Result<Self, Error> {
        let allowed_byte = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=Self::BYTES_MAX).contains(&text.len()) || !text.bytes().all(allowed_byte) {
            return Err(Error::invalid("role name", text, "1 to 64 of a-z, 0-9, `_` and `-`"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::invalid("role name", text, "not digits alone, which look like a version"));
        }
        Ok(Self(text.into()))
    }

    /// A name that was put together from checked parts.
    pub(crate) fn from_checked(text: String) -> Self {
        debug_assert!(Self::parse(&text).is_ok());
        Self(text.into())
    }

    /// The name of a delegated role, so not that of a top-level one.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn delegated(text: &str) -> Result<Self, Error> {
        let name = Self::parse(text)?;
        if name.top_level().is_some() {
            return Err(Error::invalid("delegated role name", text, "not the name of a top-level role"));
        }
        Ok(name)
    }

    /// `root`.
    #[must_use]
    pub fn root() -> Self {
        TopLevel::Root.into()
    }

    /// `targets`.
    #[must_use]
    pub fn targets() -> Self {
        TopLevel::Targets.into()
    }

    /// `snapshot`.
    #[must_use]
    pub fn snapshot() -> Self {
        TopLevel::Snapshot.into()
    }

    /// `timestamp`.
    #[must_use]
    pub fn timestamp() -> Self {
        TopLevel::Timestamp.into()
    }

    /// The top-level role of that name, if it is one.
    #[must_use]
    pub fn top_level(&self) -> Option<TopLevel> {
        TopLevel::ALL.into_iter().find(|role| role.as_str() == &*self.0)
    }

    /// The name itself where it is that of a delegated role: its documents carry it.
    #[must_use]
    pub fn as_delegated(&self) -> Option<&Self> {
        self.top_level().is_none().then_some(self)
    }

    /// The type of its documents: that of its own name, or targets.
    pub(crate) fn document_type(&self) -> TopLevel {
        self.top_level().unwrap_or(TopLevel::Targets)
    }

    /// Whether it is `targets` or a delegated role: what the targets documents, and the entries of a snapshot, are
    /// named.
    #[must_use]
    pub fn is_targets_role(&self) -> bool {
        matches!(self.top_level(), None | Some(TopLevel::Targets))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<TopLevel> for RoleName {
    fn from(role: TopLevel) -> Self {
        Self(role.as_str().into())
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for RoleName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Borrowing by text keeps order and hash, so maps can be searched by `&str`.
impl std::borrow::Borrow<str> for RoleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

text_type!(RoleName);
