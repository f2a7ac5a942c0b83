//! What callers are told of an error.

use rstuf_api::{ErrorKind, Kinded, Reason, Refusal, Violation};

use super::{Error, list};

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. }
            | Self::PinRefused { .. }
            | Self::WrongRepository { .. }
            | Self::VersionTooHigh { .. }
            | Self::Expires { .. }
            | Self::WrongRole { .. }
            | Self::TooLarge { .. }
            | Self::TooManyRemovals { .. }
            | Self::Evidence { .. }
            | Self::EvidenceExpired { .. } => ErrorKind::InvalidArgument,
            Self::NotPinned
            | Self::AlreadyPinned { .. }
            | Self::RootNotConfigured { .. }
            | Self::BaseBehind { .. }
            | Self::BaseMismatch { .. }
            | Self::VersionUsed { .. }
            | Self::ClockWentBack { .. }
            | Self::ClockJumped { .. }
            | Self::Restored { .. } => ErrorKind::FailedPrecondition,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NoSpace(_) | Self::Spool { .. } | Self::VersionBudget { .. } => ErrorKind::ResourceExhausted,
            Self::Key(_) => ErrorKind::Unavailable,
            Self::SelfCheck { .. } | Self::Corrupt { .. } | Self::Store(_) | Self::Task { .. } => ErrorKind::Internal,
        }
    }

    fn reason(&self) -> Option<Reason> {
        let reason = match self {
            Self::WrongRepository { .. } | Self::RootNotConfigured { .. } => Reason::new(Refusal::WrongRepository),
            Self::NotPinned => Reason::new(Refusal::NotPinned),
            Self::AlreadyPinned { .. } => Reason::new(Refusal::AlreadyPinned),
            Self::PinRefused { .. } => Reason::new(Refusal::EvidenceInvalid),
            Self::BaseBehind { role, .. } => Reason::new(Refusal::BaseBehind).with("role", role),
            Self::BaseMismatch { role, .. } => Reason::new(Refusal::BaseMismatch).with("role", role),
            Self::VersionUsed { role, least, .. } => {
                Reason::new(Refusal::VersionUsed).with("role", role).with("least", least)
            }
            Self::VersionTooHigh { role, most, .. } => {
                Reason::new(Refusal::VersionTooHigh).with("role", role).with("most", most)
            }
            Self::VersionBudget { role, .. } => Reason::new(Refusal::VersionBudget).with("role", role),
            Self::Expires { role, .. } => Reason::new(Refusal::ExpiresOutOfBounds).with("role", role),
            Self::ClockWentBack { .. } => Reason::new(Refusal::ClockWentBack),
            Self::ClockJumped { .. } => Reason::new(Refusal::ClockJumped),
            Self::WrongRole { role, .. } => Reason::new(Refusal::WrongRole).with("role", role),
            Self::TooLarge { role, submissions, .. } => {
                Reason::new(Refusal::DocumentTooLarge).with("role", role).with("submissions", list(submissions))
            }
            Self::TooManyRemovals { role, submissions, .. } => {
                Reason::new(Refusal::TooManyRemovals).with("role", role).with("submissions", list(submissions))
            }
            Self::Evidence { role, .. } => Reason::new(Refusal::EvidenceInvalid).with("role", role),
            Self::EvidenceExpired { role, expires, .. } => {
                Reason::new(Refusal::EvidenceInvalid).with("role", role).with("expired_at", expires)
            }
            Self::Restored { .. } => Reason::new(Refusal::StateRestored),
            Self::Invalid { .. }
            | Self::NotFound { .. }
            | Self::NoSpace(_)
            | Self::Spool { .. }
            | Self::Key(_)
            | Self::SelfCheck { .. }
            | Self::Corrupt { .. }
            | Self::Store(_)
            | Self::Task { .. } => return None,
        };
        Some(reason)
    }

    fn violations(&self) -> &[Violation] {
        let Self::Invalid { violations } = self else { return &[] };
        violations
    }
}
