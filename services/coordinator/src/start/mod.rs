//! Before all the rest: a journal that was lost is rebuilt, signers that are ahead are caught up with, the ceremony is
//! held.

mod catch_up;
pub(crate) mod ceremony;
mod check_signer;
mod rebuild;

use crate::{Result, handles::Handles, intake::Intake};

/// Brings journal, published files and signers together, before anything is published.
///
/// # Errors
/// What only a person can mend.
pub(crate) async fn prepare(handles: &Handles, intake: &Intake) -> Result<()> {
    if handles.journal.repository()?.is_none() && handles.journal.ceremony()?.is_none() {
        rebuild::rebuild(handles).await?;
    }
    if let Some(repository) = catch_up::load(&handles.journal, &handles.published).await? {
        // What is submitted is acknowledged meanwhile; published after all that.
        handles.published.set_repository(repository.clone());
        catch_up::compare(handles, intake, &repository).await?;
    }
    handles.published.set_started();
    Ok(())
}
