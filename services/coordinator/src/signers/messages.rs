//! What the requests to all signers have in common.

use bytes::Bytes;
use rstuf_api::{
    limits,
    proto::{metadata::v1::Document, signer::v1 as proto},
};
use rstuf_tuf::{RoleName, Sha256};
use uuid::Uuid;

/// What every signing request says first.
pub(super) fn header(repository: &Sha256, request: Uuid) -> proto::SigningHeader {
    proto::SigningHeader {
        format: limits::SIGNING_FORMAT,
        repository_id: Bytes::copy_from_slice(repository.as_bytes()),
        batch_id: request.to_string(),
        roots: Vec::new(),
    }
}

/// Evidence.
pub(super) fn document(role: &RoleName, envelope: Bytes) -> Document {
    Document { role: role.to_string(), envelope }
}
