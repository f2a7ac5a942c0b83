//! What is to be done about a signer's refusal: decided in this one place, for the batcher and for the lane.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rstuf_tuf::RoleName;

use crate::{Error, signers::Objection};

/// What was asked for, as far as a refusal may be due to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// The first expiry that was asked for.
    pub expires: Timestamp,
    /// The first expiry among the documents of ours that were shown and that can be renewed.
    pub evidence_expires: Option<Timestamp>,
    /// Submissions that may be at fault.
    pub submissions: usize,
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
        // Journalled before a long stop, and never signed. Any other expiry that a signer refuses is a matter of clocks
        // or of settings, which another expiry would not mend.
        Objection::Expiry if asked.expires <= now => Verdict::Redate,
        Objection::Evidence if asked.evidence_expires.is_some_and(|expires| expires <= now) => Verdict::RenewEvidence,
        Objection::TooMuch { submissions } => {
            let at_fault: BTreeSet<usize> =
                submissions.iter().copied().filter(|index| *index < asked.submissions).collect();
            if at_fault.is_empty() { Verdict::GiveUp } else { Verdict::Without(at_fault) }
        }
        Objection::VersionUsed => Verdict::Rebase,
        Objection::Behind { role } => Verdict::Prove(role.clone()),
        Objection::Evidence | Objection::Request => Verdict::GiveUp,
        Objection::Expiry | Objection::Later | Objection::Signer => Verdict::Repeat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn after_objection(objection: &Objection, expires: i64, evidence: Option<i64>) -> Verdict {
        let at = |second| Timestamp::from_second(second).unwrap_or(NOW);
        let asked = Asked { expires: at(expires), evidence_expires: evidence.map(at), submissions: 3 };
        after_refusal(objection, asked, NOW)
    }

    /// Only an expiry that has passed is asked for anew: another expiry does not mend a clock or a setting.
    #[test]
    fn redates_what_has_passed() {
        assert_eq!(after_objection(&Objection::Expiry, 0, None), Verdict::Redate);
        assert_eq!(after_objection(&Objection::Expiry, -1, Some(-1)), Verdict::Redate);
        assert_eq!(after_objection(&Objection::Expiry, 1, Some(-1)), Verdict::Repeat);
    }

    /// Evidence that is refused for another reason than its age is not renewed for ever.
    #[test]
    fn renews_evidence_that_expired() {
        assert_eq!(after_objection(&Objection::Evidence, -1, Some(0)), Verdict::RenewEvidence);
        assert_eq!(after_objection(&Objection::Evidence, -1, Some(1)), Verdict::GiveUp);
        assert_eq!(after_objection(&Objection::Evidence, -1, None), Verdict::GiveUp);
    }

    /// A signer that names submissions which were not sent, or none, drops nothing.
    #[test]
    fn drops_submissions_that_were_sent() {
        let too_much =
            |submissions: &[usize]| Objection::TooMuch { submissions: submissions.iter().copied().collect() };
        assert_eq!(after_objection(&too_much(&[0, 2, 3]), 1, None), Verdict::Without([0, 2].into()));
        assert_eq!(after_objection(&too_much(&[3]), 1, None), Verdict::GiveUp);
        assert_eq!(after_objection(&too_much(&[]), 1, None), Verdict::GiveUp);
    }

    #[test]
    fn proves_to_a_signer_that_is_behind_and_follows_one_that_is_ahead() {
        let role = RoleName::snapshot();
        assert_eq!(after_objection(&Objection::Behind { role: role.clone() }, -1, Some(-1)), Verdict::Prove(role));
        assert_eq!(after_objection(&Objection::VersionUsed, 1, None), Verdict::Rebase);
    }

    /// What lies in the request is given up; what lies in the signer, or passes, would hold for every other request
    /// too.
    #[test]
    fn gives_up_only_what_other_requests_would_not_meet() {
        assert_eq!(after_objection(&Objection::Request, -1, Some(-1)), Verdict::GiveUp);
        for objection in [Objection::Signer, Objection::Later] {
            assert_eq!(after_objection(&objection, -1, Some(-1)), Verdict::Repeat);
        }
        let asked = Asked { expires: NOW, evidence_expires: None, submissions: 1 };
        let wrong = crate::signers::wrong(crate::signers::Group::Targets, "bins-0", "not what was asked for");
        assert_eq!(after(&wrong, asked, NOW), Verdict::GiveUp);
        assert_eq!(after(&Error::DiskFull, asked, NOW), Verdict::Repeat);
    }
}
