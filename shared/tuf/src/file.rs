//! The names that documents have as files of a repository (TUF specification, section 6.2), and in lists of others.

use std::fmt;

use crate::{Error, RoleName, TopLevel, Version, macros::text_type};

const SUFFIX: &str = ".json";
/// The one file that is ever replaced.
pub const TIMESTAMP: &str = "timestamp.json";

/// The file of a document: [`TIMESTAMP`], or `VERSION.ROLE.json`, the same for ever.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataFile {
    /// The newest timestamp.
    Timestamp,
    /// One version of any other document.
    Versioned {
        /// Its version.
        version: Version,
        /// Its role, never `timestamp`.
        role: RoleName,
    },
}

impl MetadataFile {
    /// The file of a version of a role.
    #[must_use]
    pub fn of(role: &RoleName, version: Version) -> Self {
        match role.top_level() {
            Some(TopLevel::Timestamp) => Self::Timestamp,
            Some(TopLevel::Root | TopLevel::Targets | TopLevel::Snapshot) | None => {
                Self::Versioned { version, role: role.clone() }
            }
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let versioned = || {
            let (version, role) = text.strip_suffix(SUFFIX)?.split_once('.')?;
            Some((version.parse().ok()?, role.parse::<RoleName>().ok()?))
        };
        match (text, versioned()) {
            (TIMESTAMP, _) => Ok(Self::Timestamp),
            (_, Some((version, role))) if role.top_level() != Some(TopLevel::Timestamp) => {
                Ok(Self::Versioned { version, role })
            }
            _ => Err(Error::invalid("metadata file", text, "timestamp.json or VERSION.ROLE.json")),
        }
    }
}

impl fmt::Display for MetadataFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timestamp => formatter.write_str(TIMESTAMP),
            Self::Versioned { version, role } => write!(formatter, "{version}.{role}{SUFFIX}"),
        }
    }
}

text_type!(MetadataFile);

/// The name under which snapshots and timestamps list a role: `ROLE.json`.
#[must_use]
pub fn listed(role: &RoleName) -> String {
    [role.as_str(), SUFFIX].concat()
}

/// The role that a snapshot lists under this name.
pub(crate) fn listed_role(file: &str) -> Result<RoleName, Error> {
    let name = file.strip_suffix(SUFFIX).ok_or_else(|| Error::invalid("meta", file, "names that end in .json"))?;
    let role: RoleName = name.parse().map_err(|error: Error| error.within("meta"))?;
    if !role.is_targets_role() {
        return Err(Error::invalid("meta", file, "targets and delegated roles"));
    }
    Ok(role)
}
