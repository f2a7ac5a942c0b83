//! Whom to ask for which roles.

use std::fmt;

use rstuf_tuf::TopLevel;

/// The role groups, one signer each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Signs bins, or the top-level targets in the flat layout.
    Targets,
    /// Signs snapshots.
    Snapshot,
    /// Signs timestamps.
    Timestamp,
}

impl Group {
    /// All of them, in the order of a publication.
    pub(crate) const ALL: [Self; 3] = [Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The role that it signs, or whose delegated roles.
    pub fn role(self) -> TopLevel {
        match self {
            Self::Targets => TopLevel::Targets,
            Self::Snapshot => TopLevel::Snapshot,
            Self::Timestamp => TopLevel::Timestamp,
        }
    }

    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        self.role().as_str()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
