//! What a signer objects to, read once, where its answer comes in.

use std::collections::BTreeSet;

use rstuf_api::{Reason, Refusal};
use rstuf_tuf::RoleName;
use tonic::Code;

/// Why a signer refused, as far as the coordinator acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It knows an older document of this role than what is published.
    Behind {
        /// The role.
        role: RoleName,
    },
    /// It signed this version, or a higher one, for another request.
    VersionUsed,
    /// The expiry that is asked for has passed, or lies too far ahead.
    Expiry,
    /// What it was shown is not valid.
    Evidence,
    /// What it was shown has expired, by its clock.
    EvidenceExpired,
    /// A document would grow over its limit, or lose more than it may.
    TooMuch {
        /// The submissions at fault, by index.
        submissions: BTreeSet<usize>,
    },
    /// Something that passes by itself.
    Later,
    /// What is asked for, whatever else the signer would sign.
    Request,
    /// The signer signs nothing for this repository, or not for this caller.
    Signer,
}

impl Objection {
    /// What a reason means. Where there is none, the transport refused: for the size of a message, or whoever calls.
    pub(super) fn of(code: Code, reason: Option<&Reason>) -> Self {
        let Some(reason) = reason else {
            return if code == Code::OutOfRange { Self::Request } else { Self::Signer };
        };
        let metadata = |key| reason.metadata.get(key).map(String::as_str);
        match reason.name {
            Refusal::BaseBehind => {
                let role = metadata("role").and_then(|role| role.parse().ok());
                role.map_or(Self::Request, |role| Self::Behind { role })
            }
            Refusal::VersionUsed => Self::VersionUsed,
            Refusal::ExpiresOutOfBounds => Self::Expiry,
            Refusal::EvidenceInvalid => metadata("expired_at").map_or(Self::Evidence, |_| Self::EvidenceExpired),
            Refusal::DocumentTooLarge | Refusal::TooManyRemovals => {
                let numbers = metadata("submissions").unwrap_or_default().split(',');
                Self::TooMuch { submissions: numbers.filter_map(|number| number.trim().parse().ok()).collect() }
            }
            Refusal::ClockWentBack
            | Refusal::ClockJumped
            | Refusal::VersionBudget
            | Refusal::QueueFull
            | Refusal::DiskFull
            | Refusal::Unavailable
            | Refusal::Starting
            | Refusal::Stopping
            | Refusal::SignerUnreachable => Self::Later,
            Refusal::BaseMismatch
            | Refusal::VersionTooHigh
            | Refusal::WrongRole
            | Refusal::InvalidField
            | Refusal::NotFound => Self::Request,
            Refusal::WrongRepository
            | Refusal::NoCeremony
            | Refusal::NotPinned
            | Refusal::AlreadyPinned
            | Refusal::StateRestored
            | Refusal::Exists
            | Refusal::RequestIdUsed
            | Refusal::ImportOpen
            | Refusal::WrongState
            | Refusal::TaskNotDone
            | Refusal::TaskRunning
            | Refusal::TaskFinished
            | Refusal::TaskNotSetAside
            | Refusal::OffsetMismatch
            | Refusal::ImportCommitted
            | Refusal::Internal => Self::Signer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_belongs_to_a_reason() {
        let of = |reason: Reason| Objection::of(Code::InvalidArgument, Some(&reason));
        let behind = Reason::new(Refusal::BaseBehind);
        assert_eq!(of(behind.clone().with("role", "snapshot")), Objection::Behind { role: RoleName::snapshot() });
        assert_eq!(of(behind.with("role", "no role")), Objection::Request);
        for refusal in [Refusal::DocumentTooLarge, Refusal::TooManyRemovals] {
            let refused = Reason::new(refusal).with("submissions", "3, 1,x");
            assert_eq!(of(refused), Objection::TooMuch { submissions: [1, 3].into() });
        }
        let evidence = Reason::new(Refusal::EvidenceInvalid);
        assert_eq!(of(evidence.clone()), Objection::Evidence);
        assert_eq!(of(evidence.with("expired_at", "2030-01-01T00:00:00Z")), Objection::EvidenceExpired);
        assert_eq!(of(Reason::new(Refusal::WrongRole)), Objection::Request);
        assert_eq!(of(Reason::new(Refusal::StateRestored)), Objection::Signer);
        assert_eq!(Objection::of(Code::OutOfRange, None), Objection::Request);
        assert_eq!(Objection::of(Code::PermissionDenied, None), Objection::Signer);
    }
}
