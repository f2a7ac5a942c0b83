//! The gRPC side of the timestamp signer.

use rstuf_api::limits;
use rstuf_api::proto::metadata::v1::Document;
use rstuf_api::proto::signer::v1 as proto;
use rstuf_api::proto::signer::v1::timestamp_signer_service_server::{
    TimestampSignerService, TimestampSignerServiceServer,
};
use rstuf_signing::Signer;
use tonic::{Request, Response, Status, async_trait};

use crate::sign;

pub(crate) fn server(signer: Signer<()>) -> TimestampSignerServiceServer<Grpc> {
    TimestampSignerServiceServer::new(Grpc { signer }).max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
pub(crate) struct Grpc {
    signer: Signer<()>,
}

#[async_trait]
impl TimestampSignerService for Grpc {
    async fn sign_timestamp(
        &self,
        request: Request<proto::SignTimestampRequest>,
    ) -> Result<Response<proto::SignTimestampResponse>, Status> {
        let signed = sign::sign(&self.signer, request.into_inner()).await;
        let (role, envelope) = signed.map_err(|error| self.signer.refuse(error))?;
        let document = Some(Document { role: role.to_string(), envelope });
        Ok(Response::new(proto::SignTimestampResponse { document }))
    }
}
