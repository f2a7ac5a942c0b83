//! What callers are told: the kind, which becomes the code, and the reason, for programs.

use std::fmt;

use rstuf_api::{ErrorKind, Kinded, Reason, Refusal, Violation};
use rstuf_tuf::Sha256;

use super::Error;

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        self.answer().0
    }

    fn reason(&self) -> Option<Reason> {
        self.answer().1
    }

    fn violations(&self) -> &[Violation] {
        if let Self::Invalid { violations } = self { violations } else { &[] }
    }
}

impl Error {
    /// Each error stands here once. Without a reason of its own, that of the kind is told.
    fn answer(&self) -> (ErrorKind, Option<Reason>) {
        let because = |name| Some(Reason::new(name));
        match self {
            Self::Invalid { .. } => (ErrorKind::InvalidArgument, None),
            Self::NoTask { .. } | Self::NoRequest { .. } | Self::NoImport { .. } | Self::NoArtifact { .. } => {
                (ErrorKind::NotFound, None)
            }
            Self::OtherRoot { .. } => (ErrorKind::AlreadyExists, because(Refusal::AlreadyPinned)),
            Self::OtherCeremony { .. } => (ErrorKind::AlreadyExists, None),
            Self::RequestIdUsed { used, .. } => (ErrorKind::AlreadyExists, Some(used.reason())),
            Self::RequestIdOpen { import, .. } => {
                (ErrorKind::AlreadyExists, Some(Reason::new(Refusal::ImportOpen).with("import", import)))
            }
            Self::SignedBefore { .. } => (ErrorKind::FailedPrecondition, None),
            Self::NoCeremony => (ErrorKind::FailedPrecondition, because(Refusal::NoCeremony)),
            Self::NoResults { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskNotDone)),
            Self::TaskRunning { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskRunning)),
            Self::TaskFinished { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskFinished)),
            Self::TaskNotSetAside { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskNotSetAside)),
            Self::ImportCommitted { id } => {
                (ErrorKind::FailedPrecondition, Some(Reason::new(Refusal::ImportCommitted).with("task", id)))
            }
            Self::ImportOffset { next_offset, .. } => {
                let reason = Reason::new(Refusal::OffsetMismatch).with("next_offset", next_offset);
                (ErrorKind::FailedPrecondition, Some(reason))
            }
            Self::SignerRefused { reason, .. } => (ErrorKind::FailedPrecondition, reason.clone()),
            Self::Full { .. } | Self::SetAsideFull { .. } => {
                (ErrorKind::ResourceExhausted, because(Refusal::QueueFull))
            }
            Self::DiskFull | Self::Store(rstuf_store::Error::NoSpace { .. }) => {
                (ErrorKind::ResourceExhausted, because(Refusal::DiskFull))
            }
            Self::Stopped { .. } => (ErrorKind::Unavailable, None),
            Self::Starting | Self::IndexNotReady => (ErrorKind::Unavailable, because(Refusal::Starting)),
            Self::Stopping => (ErrorKind::Unavailable, because(Refusal::Stopping)),
            Self::SignerUnreachable { .. } => (ErrorKind::Unavailable, because(Refusal::SignerUnreachable)),
            Self::SignerAnswer { .. }
            | Self::OtherRepository { .. }
            | Self::PublishedInUse { .. }
            | Self::PublishConflict { .. }
            | Self::DocumentLost { .. }
            | Self::Publish { .. }
            | Self::Index(_)
            | Self::Store(_)
            | Self::Journal { .. }
            | Self::VersionsExhausted { .. } => (ErrorKind::Internal, None),
        }
    }
}

/// What a request id was used for.
#[derive(Debug)]
pub struct Used {
    /// What the request was answered with.
    pub task: uuid::Uuid,
    /// What was asked for.
    pub kind: &'static str,
    /// Whether it was to be held.
    pub hold: bool,
    /// Digest of its changes.
    pub digest: Sha256,
}

impl Used {
    /// By which a caller can tell whether it was for just what it asks for.
    fn reason(&self) -> Reason {
        let reason = Reason::new(Refusal::RequestIdUsed).with("task", self.task).with("kind", self.kind);
        reason.with("hold", self.hold).with("digest", self.digest)
    }
}

impl fmt::Display for Used {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, task {}", self.kind, self.task)
    }
}
