//! Asking for a timestamp.

use bytes::Bytes;
use rstuf_api::{
    limits,
    proto::signer::v1::{self as proto, timestamp_signer_service_client::TimestampSignerServiceClient},
};
use rstuf_runtime::CALL_MAX;
use rstuf_tuf::{Revision, RoleName, Sha256};
use uuid::Uuid;

use super::{Group, Signers, messages, timed};
use crate::Result;

impl Signers {
    /// Asks for a timestamp over a snapshot.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn sign_timestamp(
        &self,
        repository: &Sha256,
        run: Uuid,
        revision: &Revision,
        snapshot: Bytes,
    ) -> Result<Bytes> {
        let request = proto::SignTimestampRequest {
            header: Some(messages::header(repository, run)),
            revision: Some(revision.into()),
            snapshot: Some(messages::document(&RoleName::snapshot(), snapshot)),
        };
        let mut client = TimestampSignerServiceClient::new(self.endpoint(Group::Timestamp).channel.clone())
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
        let answer = client.sign_timestamp(timed(request, CALL_MAX)).await;
        self.document(Group::Timestamp, answer.map(|answer| answer.into_inner().document))
    }
}
