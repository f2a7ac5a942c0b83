//! What callers are told: the kind, which becomes the code, and the reason, for programs.

use rstuf_api::{ErrorKind, Kinded, Reason, Refusal, Violation};

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
            Self::RequestIdUsed { task, .. } => {
                (ErrorKind::AlreadyExists, Some(Reason::new(Refusal::RequestIdUsed).with("task", task)))
            }
            Self::RequestIdOpen { import, .. } => {
                (ErrorKind::AlreadyExists, Some(Reason::new(Refusal::ImportOpen).with("import", import)))
            }
            Self::SignedBefore { .. } => (ErrorKind::FailedPrecondition, None),
            Self::NoCeremony => (ErrorKind::FailedPrecondition, because(Refusal::NoCeremony)),
            Self::NoResults { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskNotDone)),
            Self::TaskRunning { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskRunning)),
            Self::TaskFinished { .. } => (ErrorKind::FailedPrecondition, because(Refusal::TaskFinished)),
            Self::ImportCommitted { id } => {
                (ErrorKind::FailedPrecondition, Some(Reason::new(Refusal::ImportCommitted).with("task", id)))
            }
            Self::ImportOffset { next_offset, .. } => {
                let reason = Reason::new(Refusal::OffsetMismatch).with("next_offset", next_offset);
                (ErrorKind::FailedPrecondition, Some(reason))
            }
            Self::SignerRefused { reason, .. } => (ErrorKind::FailedPrecondition, reason.clone()),
            Self::Full { .. } => (ErrorKind::ResourceExhausted, because(Refusal::QueueFull)),
            Self::DiskFull | Self::Store(rstuf_store::Error::NoSpace { .. }) => {
                (ErrorKind::ResourceExhausted, because(Refusal::DiskFull))
            }
            Self::ImportIdle { .. } | Self::Stopped { .. } => (ErrorKind::Unavailable, None),
            Self::Starting | Self::IndexNotReady => (ErrorKind::Unavailable, because(Refusal::Starting)),
            Self::Stopping => (ErrorKind::Unavailable, because(Refusal::Stopping)),
            Self::SignerUnreachable { .. } => (ErrorKind::Unavailable, because(Refusal::SignerUnreachable)),
            Self::SignerAnswer { .. }
            | Self::OtherRepository { .. }
            | Self::PublishedInUse { .. }
            | Self::PublishConflict { .. }
            | Self::DocumentLost { .. }
            | Self::Publish { .. }
            | Self::Store(_)
            | Self::Journal { .. }
            | Self::VersionsExhausted { .. } => (ErrorKind::Internal, None),
        }
    }
}
