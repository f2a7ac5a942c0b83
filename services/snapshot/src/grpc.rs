//! The gRPC side of the snapshot signer.

use std::sync::Arc;

use rstuf_api::{
    convert, limits,
    proto::{
        metadata::v1::Document,
        signer::v1::{
            self as proto,
            sign_snapshot_request::Part,
            snapshot_signer_service_server::{SnapshotSignerService, SnapshotSignerServiceServer},
        },
    },
    signing::{self, Header},
};
use rstuf_signing::{Error, Fingerprint, Session, Signer};
use rstuf_tuf::{RoleName, Sha256};
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{evidence::Intake, memory::Memory, sign, waiting::WaitingRoom};

pub(crate) use rstuf_api::proto::signer::v1::snapshot_signer_service_server::SERVICE_NAME;

pub(crate) fn server(signer: Signer<Memory>, hashed_roles_max: u64) -> SnapshotSignerServiceServer<Grpc> {
    SnapshotSignerServiceServer::new(Grpc { signer, hashed_roles_max, waiting_room: WaitingRoom::new() })
        .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
pub(crate) struct Grpc {
    signer: Signer<Memory>,
    hashed_roles_max: u64,
    waiting_room: WaitingRoom,
}

#[async_trait]
impl SnapshotSignerService for Grpc {
    async fn sign_snapshot(
        &self,
        request: Request<Streaming<proto::SignSnapshotRequest>>,
    ) -> Result<Response<proto::SignSnapshotResponse>, Status> {
        let signed = self.sign(request.into_inner()).await;
        let document = signed.map_err(|failure| match failure {
            Failure::Refused(error) => self.signer.refuse(error),
            Failure::Broken(status) => status,
        })?;
        Ok(Response::new(proto::SignSnapshotResponse { document: Some(document) }))
    }
}

/// Why there is no answer: by the rules, or because the stream broke.
enum Failure {
    Refused(Error),
    Broken(Status),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Grpc {
    async fn sign(&self, mut stream: Streaming<proto::SignSnapshotRequest>) -> Result<Document, Failure> {
        let Self { signer, hashed_roles_max, waiting_room } = self;
        let hashed_roles_max = *hashed_roles_max;
        let Some(Part::Header(message)) = next(&mut stream).await? else {
            return Err(Error::invalid("part", "the first message must be the header").into());
        };
        let header = message.header.ok_or_else(|| Error::invalid("header.header", "missing"))?;
        let mut header = Header::try_from(header)?;
        let revision = signing::revision(&RoleName::snapshot(), message.revision)?;
        let mut fingerprint = Fingerprint::new(&header);
        fingerprint.revision(&RoleName::snapshot(), &revision);

        signer.follow_roots(&mut header).await?;
        let (trust, facts) = signer.look(|state, _| (state.trust.clone(), Arc::clone(&state.memory.facts))).await;
        let mut intake = Intake::new(trust.ok_or(Error::NotPinned)?, facts, waiting_room.enter());
        let end = take(&mut stream, &mut intake).await?;
        let (list, digests, evidence) = intake.finish().await;
        let named = Sha256::try_from(&*end.documents_sha256).map_err(convert::violation("end.documents_sha256"))?;
        if named != list {
            let reason = format!("the documents' list has sha256 {list}, the request says {named}");
            return Err(Error::evidence(&RoleName::snapshot(), reason).into());
        }
        let finish = move || {
            fingerprint.part(list.as_bytes());
            for (role, sha256) in &digests {
                fingerprint.part(role.as_str().as_bytes()).part(sha256.as_bytes());
            }
            fingerprint.finish()
        };
        let build = move |session: &Session<'_, Memory>| sign::build(session, &revision, evidence?, hashed_roles_max);
        let answer = signer.sign(&header, finish, build).await?;
        let (role, envelope) = answer.into_document().await?;
        Ok(Document { role: role.to_string(), envelope })
    }
}

/// Takes the documents in, and answers the end of the evidence, which is that of the stream.
async fn take(
    stream: &mut Streaming<proto::SignSnapshotRequest>,
    intake: &mut Intake,
) -> Result<proto::EvidenceEnd, Failure> {
    let mut documents = 0;
    let end = loop {
        match next(stream).await? {
            Some(Part::Document(_)) if documents == limits::DOCUMENTS_PER_STREAM_MAX => {
                let max = limits::DOCUMENTS_PER_STREAM_MAX;
                return Err(Error::invalid("document", format!("allowed are at most {max} in one stream")).into());
            }
            Some(Part::Document(document)) => {
                documents += 1;
                let role = convert::role_name("document.role", &document.role)?;
                intake.push(role, document.envelope).await;
            }
            Some(Part::End(end)) => break end,
            Some(Part::Header(_)) => return Err(Error::invalid("part", "a second header").into()),
            None => return Err(Error::invalid("part", "the stream ended without the end of the evidence").into()),
        }
    };
    if next(stream).await?.is_some() {
        return Err(Error::invalid("part", "another part after the end of the evidence").into());
    }
    Ok(end)
}

async fn next(stream: &mut Streaming<proto::SignSnapshotRequest>) -> Result<Option<Part>, Failure> {
    match stream.message().await.map_err(Failure::Broken)? {
        None => Ok(None),
        Some(message) => {
            let part = message.part.ok_or_else(|| Error::invalid("part", "missing"))?;
            Ok(Some(part))
        }
    }
}
