//! Before all the rest: a journal that was lost is rebuilt, signers that are ahead are caught up with, the ceremony is
//! held.

mod catch_up;
pub(crate) mod ceremony;
mod rebuild;

use rstuf_runtime::Hold;

use crate::{Result, handles::Handles, intake::Intake};

/// Brings journal, published files and signers together, before anything is published. What is submitted is
/// acknowledged as soon as the journal is there, for which `opening` is held: signers may be away for long.
///
/// # Errors
/// What only a person can mend.
pub(crate) async fn prepare(handles: &Handles, intake: &Intake, opening: Hold) -> Result<()> {
    if handles.journal.repository()?.is_none() && handles.journal.ceremony()?.is_none() {
        rebuild::rebuild(handles).await?;
    }
    let repository = catch_up::load(&handles.journal, &handles.published).await?;
    repository.iter().for_each(|repository| handles.published.set_repository(repository.clone()));
    handles.published.set_started();
    opening.release();
    match repository {
        Some(repository) => catch_up::compare(handles, intake, &repository).await,
        None => Ok(()),
    }
}
