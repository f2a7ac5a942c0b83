//! What can be wrong with metadata, in words that name the field, its value and what is allowed.

use crate::{KeyId, RoleName, Sha256, TopLevel, Version, text};

/// Characters of an offending value that a message repeats; the rest is cut.
const VALUE_CHARS_MAX: usize = 80;

/// Why metadata was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not the JSON that this crate reads (see [`crate::json`]).
    #[error("not acceptable JSON: {reason}")]
    Json {
        /// The parser's reason, with line and column.
        reason: String,
    },
    /// A value outside what its type allows.
    #[error("{field} is {}, allowed: {allowed}", text::quoted(.value))]
    Invalid {
        /// Where the value stood.
        field: String,
        /// The value, cut to a few characters.
        value: String,
        /// What is allowed there.
        allowed: String,
    },
    /// A field that must be there is absent.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// A document of another type than the one asked for.
    #[error("document is of type {found}, expected {expected}")]
    WrongType {
        /// The type asked for.
        expected: TopLevel,
        /// The type that the document states.
        found: TopLevel,
    },
    /// The document is larger than [`crate::DOCUMENT_BYTES_MAX`].
    #[error("document has {bytes} bytes, allowed: at most {allowed}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        allowed: usize,
    },
    /// A key stands under a key id that is not the digest of its canonical form.
    #[error("key id {listed} belongs to a key whose id is {computed}")]
    KeyIdMismatch {
        /// The id in the document.
        listed: KeyId,
        /// The id computed from the key.
        computed: KeyId,
    },
    /// Fewer keys signed than the role asks for.
    #[error("{document} document has {valid} valid signatures, its threshold is {threshold}")]
    Threshold {
        /// The document's type.
        document: TopLevel,
        /// Distinct keys of the role whose signature is valid.
        valid: u32,
        /// Keys that must sign.
        threshold: u32,
    },
    /// A version below one that is already known, or one that was used already.
    #[error("{role} has version {offered}, allowed: at least {least}")]
    Rollback {
        /// The role.
        role: RoleName,
        /// The lowest version that is allowed.
        least: Version,
        /// The version that was offered.
        offered: Version,
    },
    /// A version other than the one that was announced.
    #[error("{role} has version {found}, expected {expected}")]
    VersionMismatch {
        /// The role.
        role: RoleName,
        /// The version announced.
        expected: Version,
        /// The version found.
        found: Version,
    },
    /// The last version was reached: there is no next one.
    #[error("{role} has reached the last version, {}", Version::MAX)]
    VersionsExhausted {
        /// The role.
        role: RoleName,
    },
    /// Other bytes than those that were announced.
    #[error("{role} has sha256 {found}, expected {expected}")]
    DigestMismatch {
        /// The role.
        role: RoleName,
        /// The digest announced.
        expected: Sha256,
        /// The digest of what came.
        found: Sha256,
    },
    /// A size other than the one that was announced.
    #[error("{role} has {found} bytes, expected {expected}")]
    LengthMismatch {
        /// The role.
        role: RoleName,
        /// The length announced.
        expected: u64,
        /// The length of what came.
        found: u64,
    },
    /// One version of a role with two contents.
    #[error("{role} version {version} was listed before with other contents")]
    Contradiction {
        /// The role.
        role: RoleName,
        /// Its version.
        version: Version,
    },
    /// Metadata whose time is over.
    #[error("{role} expired at {expires}, it is {now}")]
    Expired {
        /// The role.
        role: RoleName,
        /// When it expired.
        expires: jiff::Timestamp,
        /// The time it was judged at.
        now: jiff::Timestamp,
    },
    /// The snapshot does not list the role.
    #[error("{role} is not listed in the snapshot")]
    NotListed {
        /// The role.
        role: RoleName,
    },
    /// A role that an older snapshot listed is gone from a newer one.
    #[error("{role} vanished from the snapshot")]
    Vanished {
        /// The role.
        role: RoleName,
    },
    /// The delegator does not delegate to the role.
    #[error("{delegator} does not delegate to {role}")]
    NotDelegated {
        /// The role.
        role: RoleName,
        /// The role that should delegate to it.
        delegator: RoleName,
    },
    /// A step of the update workflow before the one it builds on, or after one that ends its phase.
    #[error("{role} can't be updated {reason}")]
    OutOfOrder {
        /// The role.
        role: RoleName,
        /// Which step comes first.
        reason: &'static str,
    },
}

impl Error {
    /// The role that it is about, where it names one.
    #[must_use]
    pub fn role(&self) -> Option<&RoleName> {
        match self {
            Self::Rollback { role, .. }
            | Self::VersionMismatch { role, .. }
            | Self::VersionsExhausted { role }
            | Self::DigestMismatch { role, .. }
            | Self::LengthMismatch { role, .. }
            | Self::Contradiction { role, .. }
            | Self::Expired { role, .. }
            | Self::NotListed { role }
            | Self::Vanished { role }
            | Self::NotDelegated { role, .. }
            | Self::OutOfOrder { role, .. } => Some(role),
            Self::Json { .. }
            | Self::Invalid { .. }
            | Self::Missing { .. }
            | Self::WrongType { .. }
            | Self::TooLarge { .. }
            | Self::KeyIdMismatch { .. }
            | Self::Threshold { .. } => None,
        }
    }

    /// A value outside what is allowed; the value is cut for the message.
    pub(crate) fn invalid(field: &str, value: impl ToString, allowed: impl Into<String>) -> Self {
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(VALUE_CHARS_MAX) {
            value.truncate(end);
            value.push('…');
        }
        Self::Invalid { field: field.to_owned(), value, allowed: allowed.into() }
    }

    /// A value that is none of the names there are.
    pub(crate) fn none_of<const N: usize>(field: &str, value: &str, names: [&str; N]) -> Self {
        Self::invalid(field, value, names.join(", "))
    }

    /// The same error, with the place that holds the field put before it.
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            Self::Invalid { field, value, allowed } => {
                Self::Invalid { field: format!("{place}.{field}"), value, allowed }
            }
            Self::Missing { field } => Self::Missing { field: format!("{place}.{field}") },
            error @ (Self::Json { .. }
            | Self::WrongType { .. }
            | Self::TooLarge { .. }
            | Self::KeyIdMismatch { .. }
            | Self::Threshold { .. }
            | Self::Rollback { .. }
            | Self::VersionMismatch { .. }
            | Self::VersionsExhausted { .. }
            | Self::DigestMismatch { .. }
            | Self::LengthMismatch { .. }
            | Self::Contradiction { .. }
            | Self::Expired { .. }
            | Self::NotListed { .. }
            | Self::Vanished { .. }
            | Self::NotDelegated { .. }
            | Self::OutOfOrder { .. }) => error,
        }
    }
}
