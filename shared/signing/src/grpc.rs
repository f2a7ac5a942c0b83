//! What every signer answers over gRPC, whichever role it signs.

use std::pin::Pin;

use bytes::Bytes;
use rstuf_api::{
    convert, limits,
    proto::{
        metadata::v1 as metadata,
        signer::v1::{
            self as proto,
            signer_service_server::{SignerService, SignerServiceServer},
        },
    },
};
use tokio_stream::{Stream, StreamExt as _};

pub(crate) use rstuf_api::proto::signer::v1::signer_service_server::SERVICE_NAME;
pub(crate) use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{Error, Signer};

/// The server of [`SignerService`] for a signer, with its limits.
pub(crate) fn server<M: Send + Sync + 'static>(signer: Signer<M>) -> SignerServiceServer<Service<M>> {
    SignerServiceServer::new(Service { signer })
        .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
}

/// Answers what every signer answers.
#[derive(Debug)]
pub(crate) struct Service<M> {
    signer: Signer<M>,
}

impl<M: Send + Sync + 'static> Signer<M> {
    /// Counts a refusal, and makes the answer of it.
    pub fn refuse(&self, error: Error) -> Status {
        self.inner.metrics.refused(&error);
        rstuf_api::status(error)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl<M: Send + Sync + 'static> SignerService for Service<M> {
    async fn describe_signer(
        &self,
        _: Request<proto::DescribeSignerRequest>,
    ) -> Result<Response<proto::DescribeSignerResponse>, Status> {
        let description = self.signer.describe();
        let key = &description.public_key;
        let public_key = metadata::PublicKey {
            key_id: Bytes::copy_from_slice(key.key_id().as_bytes()),
            key_json: key.to_value().to_string(),
        };
        let pinned = description.pinned;
        Ok(Response::new(proto::DescribeSignerResponse {
            group: Some(convert::signer_group_message(description.group)),
            public_keys: vec![public_key],
            repository_id: pinned.map(|(id, _)| Bytes::copy_from_slice(id.as_bytes())).unwrap_or_default(),
            root_version: pinned.map_or(0, |(_, version)| version.get()),
            format: limits::SIGNING_FORMAT,
            lifetime_max: Some(convert::duration_message(description.lifetime_max)),
            halted: description.halted.unwrap_or_default(),
            clock_refusal: description.clock_refusal.map(|refusal| refusal.to_string()).unwrap_or_default(),
        }))
    }

    async fn pin(&self, request: Request<proto::PinRequest>) -> Result<Response<proto::PinResponse>, Status> {
        let proto::PinRequest { root, targets } = request.into_inner();
        let pinned = self.signer.pin(root, targets).await;
        pinned.map_err(|error| self.signer.refuse(error))?;
        Ok(Response::new(proto::PinResponse {}))
    }

    type ListRoleStatesStream = Answers<proto::ListRoleStatesResponse>;

    async fn list_role_states(
        &self,
        _: Request<proto::ListRoleStatesRequest>,
    ) -> Result<Response<Self::ListRoleStatesStream>, Status> {
        let roles = self.signer.role_states().await.into_iter().map(|state| {
            Ok(proto::ListRoleStatesResponse {
                role: state.role.to_string(),
                base: state.base.as_ref().map(Into::into),
                watermark: state.watermark.map_or(0, |version| version.get()),
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(roles))))
    }

    type GetDocumentsStream = Answers<proto::GetDocumentsResponse>;

    async fn get_documents(
        &self,
        request: Request<proto::GetDocumentsRequest>,
    ) -> Result<Response<Self::GetDocumentsStream>, Status> {
        let names = request.into_inner().roles;
        if names.is_empty() {
            let description = format!("missing, allowed are 1 to {}", limits::ROLES_PER_CALL_MAX);
            return Err(self.signer.refuse(Error::invalid("roles", description)));
        }
        let roles = names.iter().enumerate().map(|(index, name)| convert::role_name(&format!("roles[{index}]"), name));
        let roles = roles.collect::<Result<Vec<_>, _>>().map_err(|violation| self.signer.refuse(violation.into()))?;
        let signer = self.signer.clone();
        // One document at a time is in memory.
        let documents = tokio_stream::iter(roles).then(move |role| {
            let signer = signer.clone();
            async move {
                let name = role.to_string();
                let envelope = signer.document(role).await.map_err(|error| signer.refuse(error))?;
                let document = metadata::Document { role: name, envelope };
                Ok(proto::GetDocumentsResponse { document: Some(document) })
            }
        });
        Ok(Response::new(Box::pin(documents)))
    }

    async fn load_documents(
        &self,
        request: Request<Streaming<proto::LoadDocumentsRequest>>,
    ) -> Result<Response<proto::LoadDocumentsResponse>, Status> {
        let mut documents = request.into_inner();
        let mut count = 0;
        while let Some(message) = documents.message().await? {
            count += 1;
            let loaded = async {
                if count > limits::DOCUMENTS_PER_STREAM_MAX {
                    let max = limits::DOCUMENTS_PER_STREAM_MAX;
                    return Err(Error::invalid("document", format!("allowed are at most {max} in one stream")));
                }
                let document = message.document.ok_or_else(|| Error::invalid("document", "missing"))?;
                let role = convert::role_name("document.role", &document.role)?;
                self.signer.load(role, document.envelope).await
            };
            loaded.await.map_err(|error| self.signer.refuse(error))?;
        }
        Ok(Response::new(proto::LoadDocumentsResponse {}))
    }
}
