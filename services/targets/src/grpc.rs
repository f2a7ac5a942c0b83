//! The gRPC side of the targets signer.

use std::{
    iter,
    path::{Path, PathBuf},
    pin::Pin,
};

use futures::stream::{self, Stream, StreamExt as _};
use prost::Message as _;
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
use tonic::{Request, Status, Streaming, async_trait};
use tracing::Instrument as _;

use crate::{
    arrivals::Arrivals,
    progress::{Done, Progress},
    removals::Memory,
    request::{Gathering, SigningRequest},
    sign::{self, Bounds},
};

pub(crate) use rstuf_api::proto::signer::v1::targets_signer_service_server::SERVICE_NAME;

/// Bytes of documents of an answer that are read at a time, or one document.
const PAGE_BYTES: usize = 1024 * 1024;
/// Messages of an answer that are made at a time.
const PAGE_MESSAGES: usize = 256;

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
    type SignTargetsStream = Pin<Box<dyn Stream<Item = Response> + Send>>;

    async fn sign_targets(
        &self,
        request: Request<Streaming<proto::SignTargetsRequest>>,
    ) -> Result<tonic::Response<Self::SignTargetsStream>, Status> {
        let gathered = gather(request.into_inner(), &self.signer, &self.spool_dir).await?;
        let request = gathered.and_then(Gathering::finish).map_err(|error| self.signer.refuse(error))?;
        let (sender, receiver) = mpsc::channel(1);
        // The answer begins before the work: it tells how that goes on.
        tokio::spawn(answer(request, self.bounds, sender, self.signer.clone()).in_current_span());
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(receiver).flat_map(stream::iter))))
    }
}

/// Reads the whole request. The outer error is a broken stream, the inner one a refusal.
async fn gather(
    mut stream: Streaming<proto::SignTargetsRequest>,
    signer: &Signer<Memory>,
    spool_dir: &Path,
) -> Result<Result<Gathering, Error>, Status> {
    let header = match stream.message().await?.map(|first| first.part) {
        Some(Some(Part::Header(header))) => admitted(header, signer).await,
        Some(_) => Err(Error::invalid("part", "the first message must be the header")),
        None => Err(Error::invalid("part", "the stream is empty")),
    };
    let mut arrivals = Arrivals::new(stream);
    let mut gathered = header.map(|header| Gathering::new(header, spool_dir));
    while let Ok(gathering) = gathered {
        let messages = arrivals.next().await?;
        if messages.is_empty() {
            return Ok(Ok(gathering));
        }
        // That may block: changes are digested, and may go to the disk.
        gathered = blocking(move || take(gathering, messages)).await;
    }
    Ok(gathered)
}

async fn admitted(message: proto::SigningHeader, signer: &Signer<Memory>) -> Result<Header, Error> {
    let mut header = Header::try_from(message)?;
    signer.follow_roots(&mut header).await?;
    Ok(header)
}

/// Takes the next messages.
fn take(mut gathering: Gathering, messages: Vec<proto::SignTargetsRequest>) -> Result<Gathering, Error> {
    for message in messages {
        match message.part {
            Some(Part::RoleChanges(changes)) => add(&mut gathering, changes)?,
            Some(Part::Header(_)) => return Err(Error::invalid("part", "a second header")),
            None => return Err(Error::invalid("part", "missing")),
        }
    }
    Ok(gathering)
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
        let encoded = submitted.change.as_deref().ok_or_else(missing).and_then(signing::encode_change);
        gathering.push(submitted.submission, encoded)?;
    }
    Ok(())
}

/// A message of an answer, or its end.
type Response = Result<proto::SignTargetsResponse, Status>;

/// Messages go together, a page at a time.
type Sender = mpsc::Sender<Vec<Response>>;

/// Signs, and sends what becomes of that.
async fn answer(request: SigningRequest, bounds: Bounds, sender: Sender, signer: Signer<Memory>) {
    let (header, fingerprint, progress) = (request.header.clone(), request.fingerprint, Progress::default());
    let counted = progress.clone();
    let build = move |session: &Session<'_, Memory>| sign::build(session, &request, bounds, &counted);
    let tell = |Done { roles_checked, roles_made }| {
        let progress = Some(proto::SigningProgress { roles_checked, roles_made });
        let told = proto::SignTargetsResponse { progress, ..Default::default() };
        let telling = sender.send(vec![Ok(told)]);
        async move { drop(telling.await) }
    };
    let signed = progress.told(signer.sign(&header, move || fingerprint, build), tell).await;
    let sent = match signed {
        Ok(answer) => send(answer, &sender).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        let _ = sender.send(vec![Err(signer.refuse(error))]).await;
    }
}

/// Ends with the call; while nobody reads it holds a few pages, and no thread.
async fn send(answer: Answer, sender: &Sender) -> Result<(), Error> {
    let mut rest = Some(Pages { answer, role: None });
    while let Some(mut pages) = rest.take() {
        let (page, pages) = blocking(move || pages.next().map(|page| (page, pages))).await?;
        rest = Some(pages).filter(|_| !page.is_empty());
        // The caller may be gone: it will ask again, and the answer is stored.
        if sender.send(page).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// An answer as pages of messages. The outcomes of one role alone may be many pages.
struct Pages {
    answer: Answer,
    /// What is left of the role before.
    role: Option<Messages>,
}

impl Pages {
    /// The next messages; none after the last one. Blocks.
    fn next(&mut self) -> Result<Vec<Response>, Error> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < PAGE_MESSAGES && bytes < PAGE_BYTES {
            if let Some(message) = self.role.as_mut().and_then(Messages::next) {
                bytes += message.encoded_len();
                page.push(Ok(message));
                continue;
            }
            self.role = self.answer.next_role()?.map(messages);
            if self.role.is_none() {
                break;
            }
        }
        Ok(page)
    }
}

/// The messages of one role.
type Messages = Box<dyn Iterator<Item = proto::SignTargetsResponse> + Send>;

/// The answer for one role: its document and the first outcomes, then more outcomes.
fn messages(answer: RoleAnswer) -> Messages {
    let role = answer.role.to_string();
    let mut outcomes = answer.outcomes.into_each().map(|outcome| Outcome::from(outcome).into());
    let mut chunk = move || outcomes.by_ref().take(limits::OUTCOMES_PER_MESSAGE_MAX).collect::<Vec<i32>>();
    let document = answer.document.map(|envelope| Document { role: role.clone(), envelope });
    let first = proto::SignTargetsResponse { role: role.clone(), document, outcomes: chunk(), progress: None };
    let more = iter::from_fn(move || Some(chunk()).filter(|outcomes| !outcomes.is_empty()));
    let more =
        more.map(move |outcomes| proto::SignTargetsResponse { role: role.clone(), outcomes, ..Default::default() });
    Box::new(iter::once(first).chain(more))
}
