//! Calls that hand over an import.

use jiff::Timestamp;
use rstuf_api::{
    Reason, Refusal, convert, digest,
    proto::artifacts::v1::{
        AppendImportRequest, CommitImportRequest, CreateImportRequest, DeleteImportRequest, GetImportRequest, Import,
        get_import_request::Key,
    },
};
use rstuf_tuf::Sha256;
use tonic::{Code, Response, Status};

use super::{
    Client, accepted,
    answer::{Call, explain},
    messages::{Outgoing, Part},
    timed,
};
use crate::{error::Error, view};

/// What became of a wish to open an import.
#[derive(Debug)]
pub(crate) enum Created {
    /// It is open, and goes on at its offset.
    Open(OpenImport),
    /// The request id belongs to a task, maybe of the same import.
    Used(Used),
}

impl Created {
    /// The open import.
    ///
    /// # Errors
    /// Where the request id belongs to a task.
    pub(crate) fn open(self) -> Result<OpenImport, Error> {
        match self {
            Self::Open(import) => Ok(import),
            Self::Used(used) => Err(used.refusal),
        }
    }
}

/// An import that is appended to.
#[derive(Debug)]
pub(crate) struct OpenImport {
    pub(crate) id: String,
    /// Changes that the coordinator has of it.
    pub(crate) next_offset: u64,
    /// Digest of those.
    pub(crate) digest: Sha256,
    /// When it lapses.
    pub(crate) expires: Option<Timestamp>,
}

impl OpenImport {
    fn read(message: Option<Import>) -> Result<Self, Error> {
        let broken = |what: &str| Error::failed(format!("the coordinator answered without {what}"));
        let message = message.ok_or_else(|| broken("an import"))?;
        let digest = Sha256::try_from(&*message.digest).map_err(|_| broken("the digest of an import"))?;
        let expires = message.expires_at.and_then(|at| convert::timestamp("expires_at", Some(at)).ok());
        Ok(Self { id: message.id, next_offset: message.next_offset, digest, expires })
    }
}

/// What a request id was used for.
#[derive(Debug)]
pub(crate) struct Used {
    /// What the request was answered with.
    pub(crate) task: String,
    digest: String,
    hold: String,
    /// For whoever asks for something else.
    pub(crate) refusal: Error,
}

impl Used {
    fn read(status: &Status, server: &str) -> Option<Self> {
        let mut reason = Reason::of(status).filter(|reason| reason.name == Refusal::RequestIdUsed)?;
        let mut value = |key: &str| reason.metadata.remove(key).unwrap_or_default();
        let (task, digest, hold) = (value("task"), value("digest"), value("hold"));
        Some(Self { task, digest, hold, refusal: explain(status, server, Call::Write) })
    }

    /// Whether it was used for just these changes.
    pub(crate) fn is_for(&self, digest: Sha256, hold: bool) -> bool {
        (&*self.digest, &*self.hold) == (&*digest.to_string(), &*hold.to_string())
    }
}

/// An import with which somebody else goes on, or is done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// It goes on at that offset.
    At(String),
    /// It was committed.
    Committed,
    /// It was dropped, or lapsed.
    Gone,
}

impl Elsewhere {
    fn read(status: &Status) -> Option<Self> {
        let mut reason = Reason::of(status)?;
        match reason.name {
            Refusal::OffsetMismatch => Some(Self::At(reason.metadata.remove("next_offset").unwrap_or_default())),
            Refusal::ImportCommitted => Some(Self::Committed),
            Refusal::NotFound => Some(Self::Gone),
            _ => None,
        }
    }
}

/// The digest of changes, one after the other, as the coordinator makes it.
#[derive(Debug)]
pub(crate) struct Digest(Sha256);

impl Default for Digest {
    fn default() -> Self {
        Self(digest::OF_NOTHING)
    }
}

impl Digest {
    pub(crate) fn add(&mut self, change: &Outgoing) {
        self.0 = digest::followed_by_change(self.0, change.message());
    }

    pub(crate) fn value(&self) -> Sha256 {
        self.0
    }
}

impl Client {
    /// Opens an import that is appended to, or goes on with the one of this request id.
    pub(crate) async fn create_import(&self, request_id: &str, hold: bool) -> Result<Created, Error> {
        let request = CreateImportRequest { request_id: request_id.to_owned(), hold };
        let call = async || match self.artifacts().create_import(timed(request.clone())).await {
            Ok(answer) => Ok(Response::new(OpenImport::read(answer.into_inner().import).map(Created::Open))),
            Err(status) => match Used::read(&status, &self.server) {
                Some(used) => Ok(Response::new(Ok(Created::Used(used)))),
                None => Err(status),
            },
        };
        self.retried(Call::Write, call).await?
    }

    /// Appends to an open import; answers where it goes on.
    pub(crate) async fn append_import(
        &self,
        id: &str,
        offset: u64,
        part: Part,
    ) -> Result<Result<u64, Elsewhere>, Error> {
        let request = AppendImportRequest { id: id.to_owned(), offset, changes: part.into_changes() };
        let call = async || unless_elsewhere(self.artifacts().append_import(timed(request.clone())).await);
        match self.retried(Call::Write, call).await? {
            Ok(answer) => Ok(Ok(OpenImport::read(answer.import)?.next_offset)),
            Err(elsewhere) => Ok(Err(elsewhere)),
        }
    }

    /// The open import of a request id; none where there is none, maybe because it is a task by now.
    pub(crate) async fn open_import(&self, request_id: &str) -> Result<Option<OpenImport>, Error> {
        let request = GetImportRequest { key: Some(Key::RequestId(request_id.to_owned())) };
        let committed = |it: Reason| it.name == Refusal::ImportCommitted;
        let call = async || match self.artifacts().get_import(timed(request.clone())).await {
            Ok(answer) => Ok(Response::new(Some(answer.into_inner().import))),
            Err(status) if status.code() == Code::NotFound || Reason::of(&status).is_some_and(committed) => {
                Ok(Response::new(None))
            }
            Err(status) => Err(status),
        };
        self.retried(Call::Read, call).await?.map(OpenImport::read).transpose()
    }

    /// Makes an open import a task, if it has just so many changes.
    pub(crate) async fn commit_import(&self, id: &str, offset: u64) -> Result<Result<view::Task, Elsewhere>, Error> {
        let request = CommitImportRequest { id: id.to_owned(), offset };
        let call = async || unless_elsewhere(self.artifacts().commit_import(timed(request.clone())).await);
        match self.retried(Call::Write, call).await? {
            Ok(answer) => accepted(answer.task).map(Ok),
            Err(elsewhere) => Ok(Err(elsewhere)),
        }
    }

    /// Drops an open import.
    pub(crate) async fn delete_import(&self, id: &str) -> Result<(), Error> {
        let request = DeleteImportRequest { id: id.to_owned() };
        let call = async || self.artifacts().delete_import(timed(request.clone())).await;
        self.retried(Call::Write, call).await.map(drop)
    }
}

/// That somebody else has the import is an answer.
fn unless_elsewhere<T>(answered: Result<Response<T>, Status>) -> Result<Response<Result<T, Elsewhere>>, Status> {
    match answered {
        Ok(answer) => Ok(Response::new(Ok(answer.into_inner()))),
        Err(status) => Elsewhere::read(&status).map(|it| Response::new(Err(it))).ok_or(status),
    }
}
