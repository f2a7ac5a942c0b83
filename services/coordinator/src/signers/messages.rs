//! What the requests to all signers have in common.

use bytes::Bytes;
use rstuf_api::{
    convert, limits,
    proto::{metadata::v1::Document, signer::v1 as proto},
};
use rstuf_tuf::{RoleName, Sha256};
use uuid::Uuid;

use crate::journal::rows::Revision;

/// What every signing request says first.
pub(super) fn header(repository: &Sha256, request: Uuid) -> proto::SigningHeader {
    proto::SigningHeader {
        format: limits::SIGNING_FORMAT,
        repository_id: Bytes::copy_from_slice(repository.as_bytes()),
        batch_id: request.to_string(),
        roots: Vec::new(),
    }
}

/// The version that is asked for.
pub(super) fn revision(revision: &Revision) -> proto::Revision {
    proto::Revision {
        base: revision.base.as_ref().map(Into::into),
        version: revision.version.get(),
        expires: Some(convert::timestamp_message(revision.expires)),
    }
}

/// Evidence.
pub(super) fn document(role: &RoleName, envelope: Bytes) -> Document {
    Document { role: role.to_string(), envelope }
}
