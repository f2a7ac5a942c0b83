//! Asking for a snapshot.

use bytes::Bytes;
use rstuf_api::{
    limits,
    proto::signer::v1::{
        self as proto, sign_snapshot_request::Part, snapshot_signer_service_client::SnapshotSignerServiceClient,
    },
};
use rstuf_runtime::CALL_MAX;
use rstuf_tuf::{Revision, RoleName, Sha256};
use sha2::Digest as _;
use tokio_stream::{Stream, StreamExt as _};
use uuid::Uuid;

use super::{Group, Signers, messages, timed};
use crate::Result;

/// One message of a request: first the header, then every document, last the end.
pub(crate) struct SnapshotMessage(proto::SignSnapshotRequest);

impl SnapshotMessage {
    /// What is asked for.
    pub(crate) fn header(repository: &Sha256, run: Uuid, revision: &Revision) -> Self {
        Self::of(Part::Header(proto::SnapshotHeader {
            header: Some(messages::header(repository, run)),
            revision: Some(revision.into()),
        }))
    }

    /// A document that changed.
    pub(crate) fn document(role: &RoleName, envelope: Bytes) -> Self {
        Self::of(Part::Document(messages::document(role, envelope)))
    }

    /// That these were all.
    pub(crate) fn end(digests: impl Iterator<Item = Sha256>) -> Self {
        let list = digests.fold(sha2::Sha256::new(), |list, digest| list.chain_update(digest.as_bytes()));
        Self::of(Part::End(proto::EvidenceEnd { documents_sha256: Bytes::copy_from_slice(&list.finalize()) }))
    }

    fn of(part: Part) -> Self {
        Self(proto::SignSnapshotRequest { part: Some(part) })
    }
}

impl Signers {
    /// Asks for a snapshot.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn sign_snapshot(
        &self,
        messages: impl Stream<Item = SnapshotMessage> + Send + 'static,
    ) -> Result<Bytes> {
        let mut client = SnapshotSignerServiceClient::new(self.endpoint(Group::Snapshot).channel.clone())
            .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
        let answer = client.sign_snapshot(timed(messages.map(|message| message.0), CALL_MAX)).await;
        self.document(Group::Snapshot, answer.map(|answer| answer.into_inner().document))
    }
}
