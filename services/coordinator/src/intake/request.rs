//! A request at the door, and what it brings.

use rstuf_api::{RequestId, digest};
use rstuf_tuf::{Change, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::queue::{Load, PathKey, paths};
use crate::{
    Error, Result,
    error::Used,
    journal::{
        EncodedChanges,
        rows::{Body, ImportRow, RequestRow, TaskKind},
    },
};

/// A request at the door.
pub(super) struct Request {
    pub(super) task: Uuid,
    pub(super) kind: Kind,
    /// Its paths, if they were asked for when it came.
    pub(super) paths: Option<Vec<PathKey>>,
    pub(super) request_id: Option<RequestId>,
    pub(super) body: Body,
    pub(super) trace: Option<String>,
    pub(super) answer: oneshot::Sender<Result<Uuid>>,
}

/// A submission, as it is journalled.
pub(crate) struct Submission {
    pub(super) part: EncodedChanges,
    pub(super) digest: Sha256,
    pub(super) paths: Option<Vec<PathKey>>,
}

impl Submission {
    /// Of these changes. They are hashed, and so are their paths where the queue asks for those.
    pub(crate) fn of(changes: &[Change], with_paths: bool) -> Self {
        let part = EncodedChanges::of(changes);
        let digest = part.digest(digest::OF_NOTHING);
        Self { part, digest, paths: with_paths.then(|| paths(changes)) }
    }
}

/// What is asked for.
pub(super) enum Kind {
    /// One part, not journalled yet.
    Submission { part: EncodedChanges, hold: bool },
    /// Parts that are journalled already.
    Import { row: ImportRow },
    /// That everything held is published.
    Publish,
}

/// A request at the door about what a task has in the queue.
pub(super) struct OfTask {
    pub(super) task: Uuid,
    pub(super) answer: oneshot::Sender<Result<()>>,
}

impl Request {
    /// Bytes that are journalled with its acknowledgement.
    pub(super) fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Submission { part, .. } => part.as_bytes().len(),
            Kind::Import { .. } | Kind::Publish => 0,
        }
    }

    /// How much it adds.
    pub(super) fn load(&self) -> Load {
        match &self.kind {
            Kind::Submission { part, .. } => submission_load(part),
            Kind::Import { row } => Load { submissions: 1, changes: row.changes, bytes: row.bytes },
            Kind::Publish => Load { submissions: 1, ..Load::default() },
        }
    }

    /// What its task is made for.
    pub(super) fn task_kind(&self) -> TaskKind {
        match &self.kind {
            Kind::Submission { .. } => TaskKind::Submission,
            Kind::Import { .. } => TaskKind::Import,
            Kind::Publish => TaskKind::Publish,
        }
    }

    /// Whether it is held back until a publish is asked for.
    pub(super) fn is_held(&self) -> bool {
        match &self.kind {
            Kind::Submission { hold, .. } => *hold,
            Kind::Import { row } => row.hold,
            Kind::Publish => false,
        }
    }
}

/// How much a submission of one part adds.
pub(super) fn submission_load(part: &EncodedChanges) -> Load {
    Load { submissions: 1, changes: part.count(), bytes: part.as_bytes().len() as u64 }
}

/// What the caller is told when the journal did not take its request.
pub(super) fn refusal(error: &Error) -> Error {
    if error.is_transient() { Error::DiskFull } else { Error::Stopping }
}

/// That a request id stands for an earlier request.
pub(super) fn used(request_id: &RequestId, RequestRow { task, body }: &RequestRow, kind: TaskKind) -> Error {
    let used = Used { task: *task, kind: kind.as_str(), hold: body.hold, digest: body.digest };
    Error::RequestIdUsed { request_id: request_id.to_string(), used: Box::new(used) }
}
