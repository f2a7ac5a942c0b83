//! The lifetimes of the ceremony, beside the published documents. These don't say them: an expiry stands there without
//! the time of the signature, and signers know only what they allow. So they are written down where whoever loses the
//! journal still has what is published, and go wherever that folder is copied. Clients never hear of the file: it has
//! no name of a document.

use bytes::Bytes;
use rstuf_tuf::Sha256;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    handles::Handles,
    journal::{
        Journal,
        rows::{Lifetimes, RepositoryRow},
    },
    publisher::{NamedDocument, Publisher},
};

const FILE: &str = "lifetimes.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    repository: Sha256,
    lifetimes: Lifetimes,
}

/// The file of a repository.
pub(super) fn document(row: &RepositoryRow) -> NamedDocument {
    let kept = Kept { repository: row.id, lifetimes: row.lifetimes };
    NamedDocument { name: FILE.to_owned(), bytes: serde_json::to_vec(&kept).unwrap_or_default().into() }
}

/// The lifetimes of this repository; none where they were never written, or the file did not come along.
///
/// # Errors
/// [`Error::DocumentLost`] where it can't be read, [`Error::OtherRoot`] where it is of another repository.
pub(super) async fn read(publisher: &dyn Publisher, repository: Sha256) -> Result<Option<Lifetimes>> {
    let Some(bytes) = publisher.read(FILE).await? else { return Ok(None) };
    let kept = parse(&bytes)?;
    if kept.repository != repository {
        return Err(Error::OtherRoot { root: kept.repository.to_string() });
    }
    Ok(Some(kept.lifetimes))
}

fn parse(bytes: &Bytes) -> Result<Kept> {
    serde_json::from_slice(bytes).map_err(|_| Error::DocumentLost { name: FILE.to_owned() })
}

/// Writes the file of a repository whose ceremony was held by a release that did not.
///
/// # Errors
/// As [`Publisher::write`] and [`Publisher::barrier`].
pub(super) async fn keep(handles: &Handles) -> Result<()> {
    let Some(row) = handles.read(Journal::repository).await? else { return Ok(()) };
    if handles.publisher.read(FILE).await?.is_some() {
        return Ok(());
    }
    handles.publisher.write(vec![document(&row)]).await?;
    handles.publisher.barrier().await
}
