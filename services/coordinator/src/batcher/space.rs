//! Whether the disks have space for a batch of changes. What is under way is finished down to the floor that everything
//! keeps; so it is asked before anything of it is journalled.

use crate::{
    Result,
    batch::changes::Changes,
    blocking::blocking,
    handles::Handles,
    journal::rows::{BatchRow, RolePlan},
    space::BATCH_LEAVES,
};

/// How often the bytes of the changes are written: role by role beside the journal, in a document, as results.
const COPIES: u64 = 3;

/// Whether there is space for a batch with changes, beside what is left to renewals.
///
/// # Errors
/// [`crate::Error::Store`] where there is not.
pub(super) async fn check(handles: &Handles, batch: &BatchRow, changes: &Changes) -> Result<()> {
    let written = COPIES * changes.submissions().iter().map(|row| row.bytes).sum::<u64>();
    let base = |plan: &RolePlan| handles.published.role(&plan.role).map_or(0, |row| row.length);
    let documents = batch.roles.iter().map(base).sum::<u64>() + written;
    handles.publisher.check_space(BATCH_LEAVES, documents).await?;
    let store = handles.journal.store().clone();
    blocking(move || Ok(store.check_space(BATCH_LEAVES, written)?)).await
}
