//! The gRPC side of the targets signer.

use std::path::{Path, PathBuf};

use rstuf_api::{
    Violation, convert, limits,
    proto::{
        metadata::v1::Document,
        signer::v1::{
            self as proto,
            sign_targets_request::Part,
            targets_signer_service_server::{TargetsSignerService, TargetsSignerServiceServer},
        },
        tasks::v1::Outcome,
    },
    signing::{self, Header},
};
use rstuf_signing::{Answer, Error, RoleAnswer, Session, Signer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    removals::Memory,
    request::Gathering,
    sign::{self, Bounds},
};

pub(crate) use rstuf_api::proto::signer::v1::targets_signer_service_server::SERVICE_NAME;

/// Messages of an answer that wait for the caller; each may hold a whole document.
const ANSWERS_WAITING: usize = 2;

/// `spool_dir` is where a large request may be kept while it is worked on.
pub(crate) fn server(signer: Signer<Memory>, bounds: Bounds, spool_dir: PathBuf) -> TargetsSignerServiceServer<Grpc> {
    TargetsSignerServiceServer::new(Grpc { signer, bounds, spool_dir })
        .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
pub(crate) struct Grpc {
    signer: Signer<Memory>,
    bounds: Bounds,
    spool_dir: PathBuf,
}

#[async_trait]
impl TargetsSignerService for Grpc {
    type SignTargetsStream = ReceiverStream<Result<proto::SignTargetsResponse, Status>>;

    async fn sign_targets(
        &self,
        request: Request<Streaming<proto::SignTargetsRequest>>,
    ) -> Result<Response<Self::SignTargetsStream>, Status> {
        let gathered = gather(request.into_inner(), &self.signer, &self.spool_dir).await?;
        let signed = async {
            let request = gathered?.finish()?;
            let (header, fingerprint, bounds) = (request.header.clone(), request.fingerprint, self.bounds);
            let build = move |session: &Session<'_, Memory>| sign::build(session, &request, bounds);
            self.signer.sign(&header, fingerprint, build).await
        };
        let answer = signed.await.map_err(|error| self.signer.refuse(error))?;
        let (sender, receiver) = mpsc::channel(ANSWERS_WAITING);
        let signer = self.signer.clone();
        // Documents are read from the disk, one at a time; the thread ends with the call.
        tokio::task::spawn_blocking(move || send(answer, &sender, &signer));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Reads the whole request. The outer error is a broken stream, the inner one a refusal.
async fn gather(
    mut stream: Streaming<proto::SignTargetsRequest>,
    signer: &Signer<Memory>,
    spool_dir: &Path,
) -> Result<Result<Gathering, Error>, Status> {
    let mut gathering: Option<Gathering> = None;
    while let Some(message) = stream.message().await? {
        let taken = match (message.part, &mut gathering) {
            (Some(Part::Header(header)), None) => {
                let header = admitted(header, signer).await;
                header.map(|header| gathering = Some(Gathering::new(header, spool_dir)))
            }
            (Some(Part::RoleChanges(changes)), Some(gathering)) => take(gathering, changes),
            (Some(Part::Header(_)), Some(_)) => Err(Error::invalid("part", "a second header")),
            (_, None) => Err(Error::invalid("part", "the first message must be the header")),
            (None, Some(_)) => Err(Error::invalid("part", "missing")),
        };
        if let Err(error) = taken {
            return Ok(Err(error));
        }
    }
    Ok(gathering.ok_or_else(|| Error::invalid("part", "the stream is empty")))
}

async fn admitted(message: proto::SigningHeader, signer: &Signer<Memory>) -> Result<Header, Error> {
    let mut header = Header::try_from(message)?;
    signer.follow_roots(&mut header).await?;
    Ok(header)
}

/// Takes a message: another role, or more changes of the last one.
fn take(gathering: &mut Gathering, message: proto::RoleChanges) -> Result<(), Error> {
    let role = convert::role_name("role_changes.role", &message.role)?;
    if message.revision.is_some() || !gathering.goes_on(&role) {
        let revision = signing::revision(&role, message.revision)?;
        gathering.begin(role, revision, message.renew)?;
    }
    for submitted in message.changes {
        let missing = || Violation::new("change", "missing");
        let encoded = submitted.change.ok_or_else(missing).and_then(signing::encode_change);
        gathering.push(submitted.submission, encoded)?;
    }
    Ok(())
}

fn send(
    mut answer: Answer,
    sender: &mpsc::Sender<Result<proto::SignTargetsResponse, Status>>,
    signer: &Signer<Memory>,
) {
    loop {
        let messages = match answer.next_role() {
            Ok(None) => return,
            Ok(Some(role)) => messages(role),
            Err(error) => {
                let _ = sender.blocking_send(Err(signer.refuse(error)));
                return;
            }
        };
        for message in messages {
            // The caller is gone: it will ask again, and the answer is stored.
            if sender.blocking_send(Ok(message)).is_err() {
                return;
            }
        }
    }
}

/// The answer for one role: its document and the first outcomes, then more outcomes.
fn messages(answer: RoleAnswer) -> Vec<proto::SignTargetsResponse> {
    let role = answer.role.to_string();
    let outcomes: Vec<i32> = answer.outcomes.iter().map(|outcome| Outcome::from(*outcome).into()).collect();
    let mut chunks = outcomes.chunks(limits::OUTCOMES_PER_MESSAGE_MAX).map(<[i32]>::to_vec);
    let document = answer.document.map(|envelope| Document { role: role.clone(), envelope });
    let outcomes = chunks.next().unwrap_or_default();
    let first = proto::SignTargetsResponse { role: role.clone(), document, outcomes };
    let more = chunks.map(|outcomes| proto::SignTargetsResponse { role: role.clone(), document: None, outcomes });
    std::iter::once(first).chain(more).collect()
}
