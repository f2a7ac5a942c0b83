//! What is to be done about a signer's refusal: decided in this one place, for the batcher and for the lane.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use rstuf_runtime::{Clock, later};
use rstuf_tuf::RoleName;

use crate::{Error, Repository, signers::Objection};

/// By how much an expiry may lie further ahead than one that would be asked for now: nobody objects to that.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// What was asked for, as far as a refusal may be due to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// What is wrong with the expiries that were asked for.
    pub expiry: Expiry,
    /// The first expiry among the documents of ours that were shown and that can be renewed.
    pub evidence_expires: Option<Timestamp>,
    /// Submissions that may be at fault.
    pub submissions: usize,
}

/// Expiries that were asked for, as of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// All of them would be asked for now.
    Right,
    /// One has passed, or lies further ahead than would be asked for now: it was journalled before a long stop, or by a
    /// clock that was wrong.
    Wrong,
}

impl Expiry {
    /// Of these roles, by the clock as it is once a signer has said `error` of them.
    pub(crate) fn of<'a>(
        repository: &Repository,
        roles: impl IntoIterator<Item = (&'a RoleName, Timestamp)>,
        clock: &Clock,
        error: &Error,
    ) -> Self {
        let roles: Vec<_> = roles.into_iter().collect();
        hold_clock(clock, roles.iter().map(|(_, expires)| *expires), error);
        let now = clock.now();
        let is_wrong = |(role, expires): &(&RoleName, Timestamp)| {
            *expires <= now || *expires > later(repository.expiry(role, now), AHEAD_MAX)
        };
        if roles.iter().any(is_wrong) { Self::Wrong } else { Self::Right }
    }
}

/// Where the clock is ahead by a jump, and a signer that objected by `error` to these expiries does not share its time,
/// the clock is wrong: it tells the right time from then on.
pub(crate) fn hold_clock(clock: &Clock, mut expiries: impl Iterator<Item = Timestamp>, error: &Error) {
    let is_objected = matches!(error, Error::SignerRefused { objection: Objection::Expiry, .. });
    if is_objected && expiries.all(|expires| expires > clock.now()) {
        clock.hold();
    }
}

/// How to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same again, with an expiry as of now.
    Redate,
    /// What was shown has to be renewed first.
    RenewEvidence,
    /// Without these submissions, by index.
    Without(BTreeSet<usize>),
    /// Another request, above what the signer signed for somebody else, whoever that was.
    Rebase,
    /// The same again, once the signer has the published document of this role.
    Prove(RoleName),
    /// The same again, after a while: it passes, or an operator has to mend the signer.
    Repeat,
    /// The same a few times more, then without what is asked for: waiting will not mend that, and the signer would sign
    /// other things.
    GiveUp,
}

/// Decides how to go on after `error`: what the signer refused, or answered.
pub(crate) fn after(error: &Error, asked: Asked, now: Timestamp) -> Verdict {
    match error {
        Error::SignerRefused { objection, .. } => after_refusal(objection, asked, now),
        // It may be that only this can't be answered.
        Error::SignerAnswer { .. } => Verdict::GiveUp,
        // Nobody answered, or there is no space here.
        _ => Verdict::Repeat,
    }
}

fn after_refusal(objection: &Objection, asked: Asked, now: Timestamp) -> Verdict {
    match objection {
        // Never signed. Any other expiry that a signer refuses is a matter of its clock or of settings, which another
        // expiry would not mend.
        Objection::Expiry if asked.expiry == Expiry::Wrong => Verdict::Redate,
        // By any other clock it may still be shown: nothing that is asked for is at fault for a signer's.
        Objection::EvidenceExpired if asked.evidence_expires.is_some_and(|expires| expires <= now) => {
            Verdict::RenewEvidence
        }
        Objection::TooMuch { submissions } => {
            let at_fault: BTreeSet<usize> =
                submissions.iter().copied().filter(|index| *index < asked.submissions).collect();
            if at_fault.is_empty() { Verdict::GiveUp } else { Verdict::Without(at_fault) }
        }
        Objection::VersionUsed => Verdict::Rebase,
        Objection::Behind { role } => Verdict::Prove(role.clone()),
        Objection::Evidence | Objection::Request => Verdict::GiveUp,
        Objection::Expiry | Objection::EvidenceExpired | Objection::Later | Objection::Signer => Verdict::Repeat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn after_objection(objection: &Objection, expiry: Expiry, evidence: Option<i64>) -> Verdict {
        let at = |second| Timestamp::from_second(second).unwrap_or(NOW);
        let asked = Asked { expiry, evidence_expires: evidence.map(at), submissions: 3 };
        after_refusal(objection, asked, NOW)
    }

    /// Only an expiry that would not be asked for now is asked for anew: another one does not mend a signer's clock or
    /// its settings.
    #[test]
    fn redates_what_is_wrong_by_now() {
        assert_eq!(after_objection(&Objection::Expiry, Expiry::Wrong, None), Verdict::Redate);
        assert_eq!(after_objection(&Objection::Expiry, Expiry::Wrong, Some(-1)), Verdict::Redate);
        assert_eq!(after_objection(&Objection::Expiry, Expiry::Right, Some(-1)), Verdict::Repeat);
    }

    /// Evidence that is refused for another reason than its age is not renewed for ever, and what has expired only by
    /// the signer's clock waits for that clock.
    #[test]
    fn renews_evidence_that_expired() {
        let expired = |evidence| after_objection(&Objection::EvidenceExpired, Expiry::Right, evidence);
        assert_eq!(expired(Some(0)), Verdict::RenewEvidence);
        assert_eq!(expired(Some(1)), Verdict::Repeat);
        assert_eq!(expired(None), Verdict::Repeat);
        for evidence in [Some(0), Some(1), None] {
            assert_eq!(after_objection(&Objection::Evidence, Expiry::Right, evidence), Verdict::GiveUp);
        }
    }

    /// A signer that names submissions which were not sent, or none, drops nothing.
    #[test]
    fn drops_submissions_that_were_sent() {
        let too_much =
            |submissions: &[usize]| Objection::TooMuch { submissions: submissions.iter().copied().collect() };
        assert_eq!(after_objection(&too_much(&[0, 2, 3]), Expiry::Right, None), Verdict::Without([0, 2].into()));
        assert_eq!(after_objection(&too_much(&[3]), Expiry::Right, None), Verdict::GiveUp);
        assert_eq!(after_objection(&too_much(&[]), Expiry::Right, None), Verdict::GiveUp);
    }

    #[test]
    fn proves_to_a_signer_that_is_behind_and_follows_one_that_is_ahead() {
        let role = RoleName::snapshot();
        assert_eq!(
            after_objection(&Objection::Behind { role: role.clone() }, Expiry::Right, Some(-1)),
            Verdict::Prove(role)
        );
        assert_eq!(after_objection(&Objection::VersionUsed, Expiry::Right, None), Verdict::Rebase);
    }

    /// What lies in the request is given up; what lies in the signer, or passes, would hold for every other request
    /// too.
    #[test]
    fn gives_up_only_what_other_requests_would_not_meet() {
        assert_eq!(after_objection(&Objection::Request, Expiry::Right, Some(-1)), Verdict::GiveUp);
        for objection in [Objection::Signer, Objection::Later] {
            assert_eq!(after_objection(&objection, Expiry::Right, Some(-1)), Verdict::Repeat);
        }
        let asked = Asked { expiry: Expiry::Right, evidence_expires: None, submissions: 1 };
        let wrong = crate::signers::wrong(crate::signers::Group::Targets, "bins-0", "not what was asked for");
        assert_eq!(after(&wrong, asked, NOW), Verdict::GiveUp);
        assert_eq!(after(&Error::DiskFull, asked, NOW), Verdict::Repeat);
    }
}
