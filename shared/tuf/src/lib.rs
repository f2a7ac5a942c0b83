//! TUF metadata: types that can't hold what the rules forbid, the form that is signed, verification, and the rules by
//! which a repository makes its next documents and a client accepts them (TUF specification 1.0.34, TAP 15).
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
//! From bottom to top; a module uses only those before it in this list, but for `error`, which names the types that it
//! speaks of:
//!
//! 1. `text`: what people see of text
//! 2. `error`: what can be wrong
//! 3. `macros`: what every checked text type has
//! 4. `json`: strict JSON
//! 5. `canonical`: the form that is signed
//! 6. `scan`: the form that is signed, recognised
//! 7. `fields`: reading objects
//! 8. `digest`: digests of files
//! 9. `version`: versions and times
//! 10. `role`: names of roles
//! 11. `path`: paths, patterns and prefixes
//! 12. `key`: keys and signatures
//! 13. `file`: names of files
//! 14. `document`: the types of documents, and their envelope
//! 15. `reference`: names of exact documents
//! 16. `layout`: how targets are spread over roles
//! 17. `ceremony`: the first documents
//! 18. `outcome`: what changes did
//! 19. `next`: the next document
//! 20. `walk`: what a repository says of a path
//! 21. `trust`: whom to believe
//! 22. `trusted_set`: the client's workflow

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
mod outcome;
mod path;
mod reference;
mod role;
mod scan;
pub mod text;
mod trust;
mod trusted_set;
mod version;
mod walk;

pub use digest::{HashAlgorithm, Hashes, Sha256};
pub use document::{
    Document,
    delegations::{DelegatedRole, Delegations, Paths},
    envelope::{DOCUMENT_BYTES_MAX, Envelope, Unsigned},
    root::{Root, RootRoles},
    signed::Signed,
    snapshot::{MetaEntry, Snapshot},
    succinct::SuccinctRoles,
    targets::{Custom, Target, Targets},
    timestamp::Timestamp,
};
pub use error::Error;
pub use file::MetadataFile;
pub use key::{KeyId, Keys, PublicKey, RoleKeys, Signature, keys_by_id};
pub use layout::{Bins, Layout};
pub use next::{Change, NextTargets, next_snapshot, next_targets, next_timestamp};
pub use outcome::{Outcome, Outcomes};
pub use path::{HashPrefix, PathPattern, TargetPath};
pub use reference::{DocumentRef, Known, Revision};
pub use role::{RoleName, TopLevel};
pub use trust::{Authority, TrustedRoot, verify_root_update};
pub use trusted_set::{Origin, TrustedSet};
pub use version::{Version, whole_seconds};
pub use walk::Walk;
