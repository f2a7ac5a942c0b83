//! The state store: a service's own durable memory, in one directory that belongs to one process.
//!
//! [`StateStore`] is the contract of a backend; [`SledStore`] keeps it with sled and content-addressed files. Services
//! use [`Store`], a cheap handle in front of a backend: one thread writes, and commits that wait at the same time share
//! one barrier (group commit).
//!
//! ```text
//! DIR/format.json   format version and kind of service
//! DIR/lock          held (flock) by the process that owns the directory
//! DIR/log           the last commits, each twice, until they stand in the rows
//! DIR/head          what the rows must add up to: number of the last commit in them, generation, sum of all rows
//! DIR/rows-N/       sled, generation N: rows of at most INLINE_BYTES_MAX, each with a checksum
//! DIR/pending       a batch too large for the log and of many rows, while it is applied to them
//! DIR/blobs/XX/...  larger values, named by their SHA-256; the row holds the digest
//! DIR/sealed/...    files that the service itself names in rows
//! ```
//!
//! Why it is more than a call to sled 0.34: its `flush` is no fsync, so the store syncs sled's file itself; a damaged
//! file makes it panic, or lose rows without a word, so panics are caught and all rows must add up to what `head` says;
//! large values are written without fsync, so they stand in files of their own; memory and file grow under rewriting,
//! so rows are moved to a fresh generation now and then. And a commit into sled takes several writes one behind the
//! other: so a commit is one write into the log, which costs one fsync, and many of them are moved to sled at once.
//!
//! What the log does not notice: it is one file, and both copies of a commit are one write. Where all of the last
//! commits are damaged, or an older log of the same directory takes its place, the state looks as it was when rows were
//! moved last. A backup holds whole directories.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `limits`: how large keys, values and batches may be
//! 2. `error`: what can go wrong with a state directory
//! 3. `files`: small durable steps
//! 4. `layout`: who may use a directory
//! 5. `scratch`: files without a name
//! 6. `sealed`: files that are written once
//! 7. `staged`: values that are written ahead
//! 8. `batch`: the unit of change
//! 9. `contract`: what every backend promises
//! 10. `row`: what stands in a row
//! 11. `head`: the state's own account of itself
//! 12. `rows`: one sled database
//! 13. `record`: a batch as it is written down
//! 14. `log`: the last commits
//! 15. `generation`: moving rows to a fresh database
//! 16. `pending`: batches of many rows
//! 17. `blobs`: large values
//! 18. `table`: the rows as they are, the last commits over them
//! 19. `ledger`: what a commit changes, worked out
//! 20. `sled_store`: the default backend
//! 21. `group`: commits that wait become one
//! 22. `handle`: what services hold
//! 23. `powercut`: a simulated power cut, for tests
//! 24. `conformance`: the suite for backends, for tests
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod batch;
mod blobs;
mod contract;
mod error;
mod files;
mod generation;
mod group;
mod handle;
mod head;
mod layout;
mod ledger;
mod limits;
mod log;
mod pending;
mod record;
mod row;
mod rows;
mod scratch;
mod sealed;
mod sled_store;
mod staged;
mod table;

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod powercut;

pub use batch::{Batch, Put};
pub use contract::{Row, Sink, StateStore, Verified};
pub use error::{Error, Result};
pub use files::{check_space, create_dir, replace, sync_dir};
pub use handle::Store;
pub use layout::{FORMAT_VERSION, Options, is_state_dir};
pub use limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, INLINE_BYTES_MAX, KEY_BYTES_MAX};
pub use scratch::Scratch;
pub use sealed::{NewFile, SealedFile};
pub use sled_store::SledStore;
pub use staged::Staged;
