//! TUF metadata: types that can't hold what the rules forbid, the form that is signed, verification, and the rules by which a
//! repository makes its next documents and a client accepts them (TUF specification 1.0.34, TAP 15).
//!
//! Everything here is pure: no files, no network, no clock, no randomness. What comes in as bytes is parsed strictly
//! ([`json`]), once ([`Envelope`]), and verified over the bytes received; what is not understood is kept.
//!
//! ```
//! use rstuf_tuf::{Layout, TargetPath};
//!
//! let layout: Layout = "succinct:256".parse()?;
//! let path: TargetPath = "releases/1.0/app.tar.gz".parse()?;
//! assert_eq!(layout.role_for(&path).as_str(), "bins-af");
//! assert!("../etc/passwd".parse::<TargetPath>().is_err());
//! # Ok::<(), rstuf_tuf::Error>(())
//! ```
//!
//! Modules, from bottom to top: `error`, `macros`, `json`, `canonical`, `fields`, `digest`, `version`, `role`, `path`, `key`, `file`,
//! `document`, `reference`, `layout`, `ceremony`, `next`, `walk`, `trust`, `trusted_set`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod canonical;
pub mod ceremony;
mod digest;
mod document;
mod error;
mod fields;
pub mod file;
pub mod json;
mod key;
mod layout;
mod macros;
mod next;
mod path;
mod reference;
mod role;
mod trust;
pub mod trusted_set;
mod version;
mod walk;

pub use digest::{HashAlgorithm, Hashes, Sha256};
pub use document::{
    Document,
    delegations::{DelegatedRole, Delegations, Paths},
    envelope::{DOCUMENT_BYTES_MAX, Envelope, Unsigned},
    root::{Root, RootRoles},
    snapshot::{MetaEntry, Snapshot},
    succinct::SuccinctRoles,
    targets::{Custom, Target, Targets},
    timestamp::Timestamp,
};
pub use error::Error;
pub use file::MetadataFile;
pub use key::{KeyId, Keys, PublicKey, RoleKeys, Signature, keys_by_id};
pub use layout::{Bins, Layout};
pub use next::{Change, NextTargets, Outcome, next_snapshot, next_targets, next_timestamp};
pub use path::{HashPrefix, PathPattern, TargetPath};
pub use reference::{DocumentRef, Known, Revision};
pub use role::{RoleName, TopLevel};
pub use trust::{Authority, TrustedRoot, verify_root_update};
pub use trusted_set::{Origin, TrustedSet};
pub use version::Version;
pub use walk::Walk;
