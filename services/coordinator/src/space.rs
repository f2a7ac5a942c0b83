//! What is left free on the disks by what can wait, for what can't: requests are refused first, then batches of changes
//! wait, and what keeps clients going goes on down to the floor of the state store.

use rstuf_store::Options;

/// Bytes that are left free where requests are journalled: what was acknowledged before is still published.
pub(crate) const INTAKE_LEAVES: u64 = 4 * Options::FREE_BYTES_MIN;
/// Bytes that are left free where a batch of changes begins: renewals go on, of bins too.
pub(crate) const BATCH_LEAVES: u64 = 2 * Options::FREE_BYTES_MIN;
