//! A request at the door, and what it brings.

use rstuf_api::RequestId;
use rstuf_tuf::Sha256;
use sha2::Digest as _;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::queue::{Load, PathKey};
use crate::{
    Error, Result,
    journal::{EncodedChanges, Entry, Journal},
};

/// A request at the door.
pub(super) struct Request {
    pub(super) task: Uuid,
    pub(super) kind: Kind,
    pub(super) request_id: Option<RequestId>,
    pub(super) body: Sha256,
    pub(super) trace: Option<String>,
    pub(super) answer: oneshot::Sender<Result<Uuid>>,
}

/// What is asked for.
pub(super) enum Kind {
    /// One part, not journalled yet. Its paths, if they were asked for when it came.
    Submission { part: EncodedChanges, hold: bool, paths: Option<Vec<PathKey>> },
    /// Parts that are journalled already.
    Import { parts: Parts, changes: u64, bytes: u64, hold: bool },
    /// That everything held is published.
    Publish,
}

/// Journalled parts of an import. Dropped before they are kept, they are deleted: whoever has them decides, so a caller who
/// goes away while the import is being acknowledged takes nothing back.
pub(super) struct Parts {
    pub(super) journal: Journal,
    pub(super) task: Uuid,
    pub(super) count: u32,
    pub(super) kept: bool,
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
            Kind::Import { changes, bytes, .. } => Load { submissions: 1, changes: *changes, bytes: *bytes },
            Kind::Publish => Load { submissions: 1, ..Load::default() },
        }
    }

    /// Whether the parts of an import stay when the request is dropped.
    pub(super) fn keep_parts(&mut self, keep: bool) {
        if let Kind::Import { parts, .. } = &mut self.kind {
            parts.kept = keep;
        }
    }

    /// Whether it is held back until a publish is asked for.
    pub(super) fn is_held(&self) -> bool {
        match self.kind {
            Kind::Submission { hold, .. } | Kind::Import { hold, .. } => hold,
            Kind::Publish => false,
        }
    }
}

impl Drop for Parts {
    /// If the process dies before they are deleted, the next start deletes them.
    fn drop(&mut self) {
        if self.kept || self.count == 0 {
            return;
        }
        let (journal, task, count) = (self.journal.clone(), self.task, self.count);
        tokio::spawn(async move {
            let mut entry = Entry::new();
            (0..count).for_each(|part| entry.delete_part(task, part));
            if let Err(error) = journal.commit(entry).await {
                tracing::warn!(%task, error = &error as &dyn std::error::Error, "parts of a broken import stay until the next start");
            }
        });
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

/// What tells two requests with the same id apart.
pub(super) fn body_digest(body: sha2::Sha256, hold: bool) -> Sha256 {
    Sha256(body.chain_update([u8::from(hold)]).finalize().into())
}
