//! Fetching documents that signers signed and that the journal does not know: its disk was lost, or somebody else
//! asked.

use rstuf_tuf::{Envelope, RoleName};

use crate::{
    Error, Repository, Result,
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
    repository: &Repository,
    group: Group,
    roles: &[RoleName],
) -> Result<Vec<SignedDocument>> {
    let mut signed = Vec::with_capacity(roles.len());
    for roles in roles.chunks(DOCUMENTS_PER_CALL) {
        let before = signed.len();
        for (role, bytes) in handles.signers.documents(group, roles).await? {
            let refuse = |message: String| wrong(group, role.as_str(), message);
            let envelope = Envelope::parse(&bytes).map_err(|error| refuse(error.to_string()))?;
            repository.verify(&role, &envelope).map_err(refuse)?;
            signed.push(SignedDocument { reference: reference(&role, &envelope), expires: envelope.expires() });
            if role != RoleName::timestamp() {
                let name = file_name(&role, envelope.version());
                handles.publisher.write(vec![NamedDocument { name, bytes }]).await?;
            }
        }
        let found = signed.len() - before;
        if found != roles.len() {
            let first = roles.first().map_or("", RoleName::as_str);
            return Err(wrong(group, first, format!("{found} documents instead of {}", roles.len())));
        }
    }
    Ok(signed)
}
