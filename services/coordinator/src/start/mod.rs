//! Before all the rest: a journal that was lost is rebuilt, signers that are ahead are caught up with, the ceremony is
//! held.

mod catch_up;
pub(crate) mod ceremony;
mod lifetimes;
mod rebuild;

use rstuf_runtime::Hold;

use crate::{Result, handles::Handles, journal::Journal};
pub(crate) use catch_up::compare;

/// Brings journal and published files together. Signers are compared with the journal as each answers. What is
/// submitted is acknowledged as soon as the journal is there, for which `opening` is held: signers may be away for
/// long.
///
/// # Errors
/// What only a person can mend.
pub(crate) async fn prepare(handles: &Handles, opening: Hold) -> Result<()> {
    let is_lost = |journal: &Journal| Ok(journal.repository()?.is_none() && journal.ceremony()?.is_none());
    if handles.read(is_lost).await? {
        rebuild::rebuild(handles).await?;
    }
    if let Err(error) = lifetimes::keep(handles).await {
        tracing::warn!(%error, "the lifetimes can't be kept beside what is published: the next start tries again");
    }
    let repository = catch_up::load(handles).await?;
    if let Some(repository) = repository {
        handles.published.set_repository(repository);
    }
    handles.published.set_started();
    opening.release();
    Ok(())
}
