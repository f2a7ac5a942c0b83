//! Fetching documents that signers signed and that the journal does not know: its disk was lost, or somebody else
//! asked.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_tuf::{Envelope, RoleName};

use crate::{
    Error, Repository, Result,
    blocking::blocking,
    handles::Handles,
    journal::rows::SignedDocument,
    published::repository::reference,
    publisher::{NamedDocument, file_name},
    signers::{Group, RoleState, wrong},
};

/// Documents asked of a signer at a time.
const DOCUMENTS_PER_CALL: usize = 64;

/// What a signer says of each role that it signs.
///
/// # Errors
/// As signers' calls; [`Error::OtherRepository`] for one that would refuse everything, for ever.
pub(crate) async fn states(handles: &Handles, repository: &Repository, group: Group) -> Result<Vec<RoleState>> {
    // One that is not pinned says so itself.
    match handles.signers.describe(group).await?.repository_id {
        Some(id) if id[..] != repository.id.as_bytes()[..] => {
            let (found, wanted) = (hex::encode(id), repository.id.to_string());
            Err(Error::OtherRepository { group, found, wanted })
        }
        Some(_) | None => handles.signers.role_states(group).await,
    }
}

/// Fetches the newest document of each role, verifies it, and writes it under its versioned name; visible after the
/// next barrier.
///
/// # Errors
/// As signers' calls; [`crate::Error::SignerAnswer`] for a document that is missing or not validly signed;
/// [`crate::Error::Publish`].
pub(crate) async fn collect(
    handles: &Handles,
    repository: &Arc<Repository>,
    group: Group,
    roles: &[RoleName],
) -> Result<Vec<SignedDocument>> {
    let mut signed = Vec::with_capacity(roles.len());
    for roles in roles.chunks(DOCUMENTS_PER_CALL) {
        let (documents, repository) = (handles.signers.documents(group, roles).await?, repository.clone());
        let check = move |(role, bytes)| check(&repository, group, &role, bytes);
        let checked: Vec<_> = blocking(move || documents.into_iter().map(check).collect()).await?;
        if checked.len() != roles.len() {
            let first = roles.first().map_or("", RoleName::as_str);
            return Err(wrong(group, first, format!("{} documents instead of {}", checked.len(), roles.len())));
        }
        let (documents, named): (Vec<_>, Vec<_>) = checked.into_iter().unzip();
        handles.publisher.write(named.into_iter().flatten().collect()).await?;
        signed.extend(documents);
    }
    Ok(signed)
}

/// Verifies a document; but for the timestamp, it is to be written too.
fn check(
    repository: &Repository,
    group: Group,
    role: &RoleName,
    bytes: Bytes,
) -> Result<(SignedDocument, Option<NamedDocument>)> {
    let refuse = |message: String| wrong(group, role.as_str(), message);
    let envelope = Envelope::parse(&bytes).map_err(|error| refuse(error.to_string()))?;
    repository.verify(role, &envelope).map_err(refuse)?;
    let signed = SignedDocument { reference: reference(role, &envelope), expires: envelope.expires() };
    let named = NamedDocument { name: file_name(role, envelope.version()), bytes };
    Ok((signed, Some(named).filter(|_| *role != RoleName::timestamp())))
}
