//! The gRPC side of the timestamp signer.

use rstuf_api::{
    convert, limits,
    proto::{
        metadata::v1::Document,
        signer::v1::{
            self as proto,
            timestamp_signer_service_server::{TimestampSignerService, TimestampSignerServiceServer},
        },
    },
    signing::{self, Header},
};
use rstuf_signing::{Error, Signer};
use rstuf_tuf::RoleName;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    memory::Memory,
    sign::{self, Asked},
};

pub(crate) use rstuf_api::proto::signer::v1::timestamp_signer_service_server::SERVICE_NAME;

pub(crate) fn server(signer: Signer<Memory>) -> TimestampSignerServiceServer<Grpc> {
    TimestampSignerServiceServer::new(Grpc { signer }).max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
pub(crate) struct Grpc {
    signer: Signer<Memory>,
}

#[async_trait]
impl TimestampSignerService for Grpc {
    async fn sign_timestamp(
        &self,
        request: Request<proto::SignTimestampRequest>,
    ) -> Result<Response<proto::SignTimestampResponse>, Status> {
        let signed = async { sign::sign(&self.signer, read(request.into_inner())?).await };
        let (role, envelope) = signed.await.map_err(|error| self.signer.refuse(error))?;
        let document = Some(Document { role: role.to_string(), envelope });
        Ok(Response::new(proto::SignTimestampResponse { document }))
    }
}

fn read(message: proto::SignTimestampRequest) -> Result<Asked, Error> {
    let header = message.header.ok_or_else(|| Error::invalid("header", "missing"))?;
    let header = Header::try_from(header)?;
    let revision = signing::revision(&RoleName::timestamp(), message.revision)?;
    let snapshot = message.snapshot.ok_or_else(|| Error::invalid("snapshot", "missing"))?;
    let role = convert::role_name("snapshot.role", &snapshot.role)?;
    if role != RoleName::snapshot() {
        return Err(Error::invalid("snapshot.role", format!("{role}, allowed is snapshot")));
    }
    Ok(Asked { header, revision, snapshot: snapshot.envelope })
}
