//! What callers are told: the kind, which becomes the code, and the reason, for programs.

use rstuf_api::{ErrorKind, Kinded, Reason, Refusal, Violation};

use super::Error;

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::InvalidArgument,
            Self::NoTask { .. } | Self::NoRequest { .. } | Self::NoImport { .. } | Self::NoArtifact { .. } => {
                ErrorKind::NotFound
            }
            Self::OtherRoot { .. } | Self::RequestIdUsed { .. } => ErrorKind::AlreadyExists,
            Self::SignedBefore { .. }
            | Self::NoCeremony
            | Self::NoResults { .. }
            | Self::TaskRunning { .. }
            | Self::TaskFinished { .. }
            | Self::ImportCommitted { .. }
            | Self::ImportOffset { .. }
            | Self::SignerRefused { .. } => ErrorKind::FailedPrecondition,
            Self::Full { .. } | Self::DiskFull | Self::Store(rstuf_store::Error::NoSpace { .. }) => {
                ErrorKind::ResourceExhausted
            }
            Self::ImportIdle { .. }
            | Self::Starting
            | Self::IndexNotReady
            | Self::Stopping
            | Self::SignerUnreachable { .. } => ErrorKind::Unavailable,
            Self::Stopped { .. } => ErrorKind::Unavailable,
            Self::SignerAnswer { .. }
            | Self::OtherRepository { .. }
            | Self::PublishConflict { .. }
            | Self::DocumentLost { .. }
            | Self::Publish { .. }
            | Self::Store(_)
            | Self::Journal { .. }
            | Self::VersionsExhausted { .. } => ErrorKind::Internal,
        }
    }

    fn reason(&self) -> Option<Reason> {
        match self {
            Self::NoCeremony => Some(Reason::new(Refusal::NoCeremony)),
            Self::OtherRoot { .. } => Some(Reason::new(Refusal::AlreadyPinned)),
            Self::Full { .. } => Some(Reason::new(Refusal::QueueFull)),
            Self::DiskFull | Self::Store(rstuf_store::Error::NoSpace { .. }) => Some(Reason::new(Refusal::DiskFull)),
            Self::SignerRefused { reason, .. } => reason.clone(),
            Self::RequestIdUsed { task, .. } => Some(Reason::new(Refusal::RequestIdUsed).with("task", task)),
            Self::NoResults { .. } => Some(Reason::new(Refusal::TaskNotDone)),
            Self::TaskRunning { .. } => Some(Reason::new(Refusal::TaskRunning)),
            Self::TaskFinished { .. } => Some(Reason::new(Refusal::TaskFinished)),
            Self::ImportCommitted { id } => Some(Reason::new(Refusal::ImportCommitted).with("task", id)),
            Self::ImportOffset { next_offset, .. } => {
                Some(Reason::new(Refusal::OffsetMismatch).with("next_offset", next_offset))
            }
            Self::Starting | Self::IndexNotReady => Some(Reason::new(Refusal::Starting)),
            Self::Stopping => Some(Reason::new(Refusal::Stopping)),
            Self::SignerUnreachable { .. } => Some(Reason::new(Refusal::SignerUnreachable)),
            Self::Invalid { .. }
            | Self::ImportIdle { .. }
            | Self::NoTask { .. }
            | Self::NoRequest { .. }
            | Self::NoImport { .. }
            | Self::NoArtifact { .. }
            | Self::SignerAnswer { .. }
            | Self::SignedBefore { .. }
            | Self::OtherRepository { .. }
            | Self::PublishConflict { .. }
            | Self::DocumentLost { .. }
            | Self::Publish { .. }
            | Self::Store(_)
            | Self::Journal { .. }
            | Self::VersionsExhausted { .. }
            | Self::Stopped { .. } => None,
        }
    }

    fn violations(&self) -> &[Violation] {
        if let Self::Invalid { violations } = self { violations } else { &[] }
    }
}
