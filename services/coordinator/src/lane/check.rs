//! Checking what the snapshot and timestamp signers answer, before clients could.

use rstuf_api::DocumentRef;
use rstuf_tuf::{Envelope, Revision, RoleName, Snapshot};

use crate::{
    Repository, Result,
    journal::rows::SignedDocument,
    published::repository::reference,
    signers::{Group, wrong},
};

/// Checks that a snapshot is what was asked for, and that it lists the batch's documents.
pub(super) fn snapshot(
    repository: &Repository,
    revision: &Revision,
    documents: &[SignedDocument],
    bytes: &[u8],
) -> Result<(SignedDocument, Snapshot)> {
    let role = RoleName::snapshot();
    let refuse = |message: String| wrong(Group::Snapshot, role.as_str(), message);
    let envelope = asked_for(repository, Group::Snapshot, &role, revision, bytes)?;
    let snapshot: Snapshot = envelope.decode().map_err(|error| refuse(error.to_string()))?;
    for document in documents {
        let listed = snapshot.meta.get(&document.reference.role).map(|entry| entry.version);
        if listed != Some(document.reference.version) {
            return Err(refuse(format!(
                "it does not list version {} of {}",
                document.reference.version, document.reference.role
            )));
        }
    }
    Ok((SignedDocument { reference: reference(&role, &envelope), expires: envelope.expires() }, snapshot))
}

/// Checks that a timestamp is what was asked for, and that it names the snapshot.
pub(super) fn timestamp(
    repository: &Repository,
    revision: &Revision,
    snapshot: &DocumentRef,
    bytes: &[u8],
) -> Result<SignedDocument> {
    let role = RoleName::timestamp();
    let refuse = |message: String| wrong(Group::Timestamp, role.as_str(), message);
    let envelope = asked_for(repository, Group::Timestamp, &role, revision, bytes)?;
    let timestamp: rstuf_tuf::Timestamp = envelope.decode().map_err(|error| refuse(error.to_string()))?;
    let named = timestamp.snapshot.hashes.as_ref().map(rstuf_tuf::Hashes::as_sha256);
    if timestamp.snapshot.version != snapshot.version || named != Some(snapshot.sha256) {
        return Err(refuse(format!("it does not name snapshot {}", snapshot.version)));
    }
    Ok(SignedDocument { reference: reference(&role, &envelope), expires: envelope.expires() })
}

fn asked_for(
    repository: &Repository,
    group: Group,
    role: &RoleName,
    revision: &Revision,
    bytes: &[u8],
) -> Result<Envelope> {
    let refuse = |message: String| wrong(group, role.as_str(), message);
    let envelope = Envelope::parse(bytes).map_err(|error| refuse(error.to_string()))?;
    repository.verify(role, &envelope).map_err(refuse)?;
    if envelope.version() != revision.version || envelope.expires() != revision.expires {
        return Err(refuse(format!("version {} and its expiry are not what was asked for", envelope.version())));
    }
    Ok(envelope)
}
