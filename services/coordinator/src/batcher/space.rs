//! Whether the disks have space for a batch of changes, beside what is left to renewals. What is under way is finished
//! down to the floor that everything keeps; so it is asked before anything of it is written.

use crate::{
    Result,
    batch::changes::Changes,
    handles::Handles,
    journal::{
        Journal,
        rows::{BatchRow, RolePlan},
    },
    space::BATCH_LEAVES,
};

/// How often the bytes of the changes are written: role by role beside the journal, in a document, as results.
const COPIES: u64 = 3;

/// Bytes that the changes become; none where there are none, which needs no space.
fn written(changes: &Changes) -> Option<u64> {
    let submissions = changes.submissions();
    (!submissions.is_empty()).then(|| COPIES * submissions.iter().map(|row| row.bytes).sum::<u64>())
}

/// Whether the journal's disk has space for changes, which are written there role by role to plan their batch. Blocks.
///
/// # Errors
/// [`crate::Error::Store`] where there is not.
pub(super) fn check_journal(journal: &Journal, changes: &Changes) -> Result<()> {
    let Some(written) = written(changes) else { return Ok(()) };
    Ok(journal.store().check_space(BATCH_LEAVES, written)?)
}

/// Whether the disk of published files has space for the documents of a batch with changes.
///
/// # Errors
/// [`crate::Error::Store`] where there is not.
pub(super) async fn check_published(handles: &Handles, batch: &BatchRow, changes: &Changes) -> Result<()> {
    let Some(written) = written(changes) else { return Ok(()) };
    let base = |plan: &RolePlan| handles.published.role(&plan.role).map_or(0, |row| row.length);
    let documents = batch.roles.iter().map(base).sum::<u64>() + written;
    handles.publisher.check_space(BATCH_LEAVES, documents).await
}
