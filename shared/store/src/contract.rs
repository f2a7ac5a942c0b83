//! What every backend promises. The `conformance` module (feature `testing`) proves it.

use crate::{Batch, Result, Staged};

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Takes the rows of an export, one after the other; its first error ends the export.
pub type Sink<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// What [`StateStore::verify`] read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Rows read.
    pub rows: u64,
    /// Bytes of keys and values.
    pub size_bytes: u64,
}

/// Ordered rows of bytes, changed by atomic, durable batches.
///
/// The contract:
///
/// - *One owner.* A second open of the same state, by this or another process, is refused.
/// - *Atomic.* After a crash at any instant, a batch is there as a whole or not at all.
/// - *Durable.* When `commit` has returned `Ok`, the batch survives the death of the process and a power cut. A reader
///   never sees a change that is not durable yet.
/// - *In order.* A batch whose commit began after another's returned is never there without that other.
/// - *Ordered scan.* Rows come in the order of their keys' bytes, and one scan sees one instant.
/// - *True.* What is read is what was written. Damage is an error, never other bytes and never an absent row.
/// - *Fails closed.* A commit refused for its bounds or for want of space changed nothing, and the store lives on.
///   After any other failed commit the outcome is unknown, and every later call is refused until the state is opened
///   anew.
///
/// Calls block; any number of threads may call at once. Keys are 1 to [`crate::KEY_BYTES_MAX`] bytes.
pub trait StateStore: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// `Corrupt` if the value is damaged; `Failed`, `Closed` or `Io`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// At most `limit` rows whose keys start with `prefix` and come after `after` (exclusive).
    ///
    /// # Errors
    /// As [`StateStore::get`].
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>>;

    /// As [`StateStore::scan`], keys only: values, which may be large, are not read.
    ///
    /// # Errors
    /// As [`StateStore::get`].
    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>>;

    /// Writes a value, best a large one, ahead of the batch that will [put](Batch::put_staged) it. It is not durable
    /// before that batch is, and deleted if there is none.
    ///
    /// # Errors
    /// `NoSpace`, and nothing changed; else as [`StateStore::commit`].
    fn stage(&self, value: &[u8]) -> Result<Staged>;

    /// Makes all changes of `batch` durable, or none.
    ///
    /// # Errors
    /// `Limit` and `NoSpace` (also where it would not leave what the batch [leaves](Batch::leave)) changed nothing; one
    /// without changes is refused for `NoSpace` too.
    /// `Failed`: the outcome is unknown and the store is unusable.
    fn commit(&self, batch: &Batch) -> Result<()>;

    /// The repository that this state belongs to, once bound.
    ///
    /// # Errors
    /// As [`StateStore::get`].
    fn repository(&self) -> Result<Option<[u8; 32]>>;

    /// Binds this state to a repository for ever; binding it again to the same one changes nothing.
    ///
    /// # Errors
    /// `OtherRepository`, or as [`StateStore::commit`].
    fn bind_repository(&self, id: [u8; 32]) -> Result<()>;

    /// Reads and checks everything.
    ///
    /// # Errors
    /// `Corrupt` names the first damage found; else as [`StateStore::get`].
    fn verify(&self) -> Result<Verified>;

    /// Gives every row to `sink` in the order of keys, all of one instant. Commits wait meanwhile.
    ///
    /// # Errors
    /// As [`StateStore::get`], and the first error of `sink`.
    fn export(&self, sink: &mut Sink<'_>) -> Result<()>;

    /// Ends the use of the state and gives up its ownership; every later call is `Closed`.
    ///
    /// # Errors
    /// `Failed` if what is left to do failed; ownership is given up all the same.
    fn close(&self) -> Result<()>;
}
