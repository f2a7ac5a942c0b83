//! The gRPC side of the targets signer.

use std::path::{Path, PathBuf};

use bytes::Bytes;
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
use rstuf_signing::{Answer, Error, RoleAnswer, Session, Signer, blocking};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};
use tracing::Instrument as _;

use crate::{
    progress::{Done, Progress},
    removals::Memory,
    request::{Gathering, SigningRequest},
    sign::{self, Bounds},
};

pub(crate) use rstuf_api::proto::signer::v1::targets_signer_service_server::SERVICE_NAME;

/// Bytes of documents of an answer that are read at a time, or one document.
const PAGE_BYTES: usize = 1024 * 1024;
/// Roles of an answer that are read at a time.
const PAGE_ROLES: usize = 256;

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
        let request = gathered.and_then(Gathering::finish).map_err(|error| self.signer.refuse(error))?;
        let (sender, receiver) = mpsc::channel(1);
        // The answer begins before the work: it tells how that goes on.
        tokio::spawn(answer(request, self.bounds, sender, self.signer.clone()).in_current_span());
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
            (Some(Part::RoleChanges(changes)), Some(_)) => take(&mut gathering, changes).await,
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

/// Takes a message, where that may block: its changes are digested, and may go to the disk.
async fn take(gathering: &mut Option<Gathering>, message: proto::RoleChanges) -> Result<(), Error> {
    let Some(mut taking) = gathering.take() else { return Ok(()) };
    *gathering = Some(blocking(move || add(&mut taking, message).map(|()| taking)).await?);
    Ok(())
}

/// Adds another role, or more changes of the last one.
fn add(gathering: &mut Gathering, message: proto::RoleChanges) -> Result<(), Error> {
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

type Sender = mpsc::Sender<Result<proto::SignTargetsResponse, Status>>;

/// Signs, and sends what becomes of that.
async fn answer(request: SigningRequest, bounds: Bounds, sender: Sender, signer: Signer<Memory>) {
    let (header, fingerprint, progress) = (request.header.clone(), request.fingerprint, Progress::default());
    let counted = progress.clone();
    let build = move |session: &Session<'_, Memory>| sign::build(session, &request, bounds, &counted);
    let tell = |Done { roles_checked, roles_made }| {
        let progress = Some(proto::SigningProgress { roles_checked, roles_made });
        let told = proto::SignTargetsResponse { progress, ..Default::default() };
        let telling = sender.send(Ok(told));
        async move { drop(telling.await) }
    };
    let signed = progress.told(signer.sign(&header, move || fingerprint, build), tell).await;
    let sent = match signed {
        Ok(answer) => send(answer, &sender).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        let _ = sender.send(Err(signer.refuse(error))).await;
    }
}

/// Ends with the call; while nobody reads it holds one page, and no thread.
async fn send(answer: Answer, sender: &Sender) -> Result<(), Error> {
    let mut rest = Some(answer);
    while let Some(mut answer) = rest.take() {
        let (messages, answer) = blocking(move || page(&mut answer).map(|page| (page, answer))).await?;
        rest = Some(answer).filter(|_| !messages.is_empty());
        for message in messages {
            // The caller is gone: it will ask again, and the answer is stored.
            if sender.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The messages of the next roles; none after the last one.
fn page(answer: &mut Answer) -> Result<Vec<proto::SignTargetsResponse>, Error> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for _ in 0..PAGE_ROLES {
        let Some(role) = answer.next_role()? else { break };
        bytes += role.document.as_ref().map_or(0, Bytes::len);
        page.extend(messages(role));
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

/// The answer for one role: its document and the first outcomes, then more outcomes.
fn messages(answer: RoleAnswer) -> Vec<proto::SignTargetsResponse> {
    let role = answer.role.to_string();
    let outcomes: Vec<i32> = answer.outcomes.iter().map(|outcome| Outcome::from(*outcome).into()).collect();
    let mut chunks = outcomes.chunks(limits::OUTCOMES_PER_MESSAGE_MAX).map(<[i32]>::to_vec);
    let document = answer.document.map(|envelope| Document { role: role.clone(), envelope });
    let outcomes = chunks.next().unwrap_or_default();
    let first = proto::SignTargetsResponse { role: role.clone(), document, outcomes, progress: None };
    let more = chunks.map(|outcomes| proto::SignTargetsResponse { role: role.clone(), outcomes, ..Default::default() });
    std::iter::once(first).chain(more).collect()
}
