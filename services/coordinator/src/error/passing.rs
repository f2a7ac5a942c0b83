//! Which errors pass, and by whose doing.

use std::io;

use super::{Action, Error};
use crate::signers::Objection;

impl Error {
    /// Whether it may be over without anybody's doing; what is [transient](Self::is_transient) and does not pass waits
    /// for an operator.
    pub fn passes(&self) -> bool {
        if let Self::SignerRefused { objection, .. } = self {
            return match objection {
                Objection::Behind { .. } | Objection::VersionUsed | Objection::Later => true,
                Objection::Expiry
                | Objection::Evidence
                | Objection::EvidenceExpired
                | Objection::TooMuch { .. }
                | Objection::Request
                | Objection::Signer => false,
            };
        }
        matches!(self, Self::SignerUnreachable { .. })
    }

    /// Whether a disk is full, which passes when somebody makes room.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Self::Store(rstuf_store::Error::NoSpace { .. }) => true,
            // What was not written whole is written again; a failed barrier is another matter.
            Self::Publish { action, source, .. } => {
                let full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                *action == Action::Write && full
            }
            _ => false,
        }
    }

    /// Whether trying the same again may help: the outcome is unknown, or nothing happened.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::SignerUnreachable { .. } => true,
            Self::Store(rstuf_store::Error::NoSpace { .. }) | Self::Publish { .. } => self.is_no_space(),
            // Only an operator can mend what a signer refuses for good; the coordinator asks until that has happened.
            Self::SignerRefused { .. } | Self::SignerAnswer { .. } => true,
            Self::Invalid { .. }
            | Self::NoCeremony
            | Self::Starting
            | Self::OtherRoot { .. }
            | Self::OtherCeremony { .. }
            | Self::RequestIdUsed { .. }
            | Self::RequestIdOpen { .. }
            | Self::Full { .. }
            | Self::SetAsideFull { .. }
            | Self::DiskFull
            | Self::NoTask { .. }
            | Self::NoRequest { .. }
            | Self::NoImport { .. }
            | Self::ImportCommitted { .. }
            | Self::ImportOffset { .. }
            | Self::TaskRunning { .. }
            | Self::TaskFinished { .. }
            | Self::TaskNotSetAside { .. }
            | Self::NoResults { .. }
            | Self::NoArtifact { .. }
            | Self::IndexNotReady
            | Self::Index(_)
            | Self::Stopping
            | Self::SignedBefore { .. }
            | Self::OtherRepository { .. }
            | Self::PublishedInUse { .. }
            | Self::PublishConflict { .. }
            | Self::DocumentLost { .. }
            | Self::Store(_)
            | Self::Journal { .. }
            | Self::VersionsExhausted { .. }
            | Self::Stopped { .. } => false,
        }
    }
}
