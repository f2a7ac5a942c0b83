//! Names of exact documents, and of those to be made.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Envelope, RoleName, Sha256, Version};

/// One exact document of a role that is told elsewhere, and when it expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its version.
    pub version: Version,
    /// Digest of its exact bytes.
    pub sha256: Sha256,
    /// Length of its exact bytes.
    pub length: u64,
    /// When it expires, seconds since 1970-01-01T00:00:00Z.
    pub expires: i64,
}

impl Known {
    /// Names a received document.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self {
            version: envelope.version(),
            sha256: envelope.sha256(),
            length: envelope.length(),
            expires: envelope.expires().as_second(),
        }
    }

    /// The same as a reference with its role.
    #[must_use]
    pub fn reference(&self, role: &RoleName) -> DocumentRef {
        DocumentRef { role: role.clone(), version: self.version, sha256: self.sha256, length: self.length }
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_second(self.expires).unwrap_or(jiff::Timestamp::MAX)
    }
}

impl fmt::Display for Known {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "version {} ({})", self.version, self.sha256)
    }
}

/// One exact document and its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Its role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
    /// Digest of its exact bytes.
    pub sha256: Sha256,
    /// Length of its exact bytes.
    pub length: u64,
}

impl DocumentRef {
    /// Names the document with these exact bytes.
    #[must_use]
    pub fn of(role: RoleName, version: Version, bytes: &[u8]) -> Self {
        Self { role, version, sha256: Sha256::of(bytes), length: bytes.len() as u64 }
    }
}

/// The next version of a document: what it replaces, and what it is given besides its contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// What its maker takes for the newest document; none for the first version.
    pub base: Option<DocumentRef>,
    /// Its version.
    pub version: Version,
    /// When it expires; documents hold whole seconds, the rest is cut off.
    pub expires: jiff::Timestamp,
}
