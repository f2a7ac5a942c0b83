//! Refusals for which something was given up: what meets the same one is given up at once, so that many such hold
//! nobody up for long. Only in memory: after a start, the first one is asked for as often as ever.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rstuf_api::Refusal;
use rstuf_tuf::RoleName;

use crate::{Error, signers::Group};

/// Refusals that are known at a time; for another, the oldest is forgotten.
const KNOWN_MAX: usize = 1_024;

/// Why a signer refuses, and of which role.
type Cause = (Refusal, RoleName);

/// What the targets signer refused last.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<VecDeque<Cause>>);

impl Refusals {
    /// Whether something was given up for the same.
    pub(super) fn has(&self, error: &Error) -> bool {
        cause(error).is_some_and(|cause| self.lock().contains(&cause))
    }

    /// Something is given up for this.
    pub(super) fn add(&self, error: &Error) {
        let Some(cause) = cause(error) else { return };
        let mut known = self.lock();
        known.retain(|other| *other != cause);
        if known.len() == KNOWN_MAX {
            known.pop_front();
        }
        known.push_back(cause);
    }

    /// The signer signed something else of these roles.
    pub(super) fn forget<'a>(&self, roles: impl Iterator<Item = &'a RoleName>) {
        let mut known = self.lock();
        if !known.is_empty() {
            let roles: BTreeSet<_> = roles.collect();
            known.retain(|(_, role)| !roles.contains(role));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Cause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cause(error: &Error) -> Option<Cause> {
    let Error::SignerRefused { group: Group::Targets, reason: Some(reason), .. } = error else { return None };
    Some((reason.name, reason.metadata.get("role")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstuf_api::Reason;

    use super::*;
    use crate::signers::Objection;

    fn refused(role: &str) -> Error {
        let reason = Some(Reason::new(Refusal::WrongRole).with("role", role));
        Error::SignerRefused { group: Group::Targets, objection: Objection::Request, reason, message: String::new() }
    }

    #[test]
    fn knows_what_was_refused_until_its_role_is_signed() {
        let refusals = Refusals::default();
        refusals.add(&refused("bins-0"));
        refusals.add(&refused("bins-1"));
        assert!(refusals.has(&refused("bins-0")) && refusals.has(&refused("bins-1")));
        assert!(!refusals.has(&refused("bins-2")));
        refusals.forget([&"bins-0".parse().unwrap()].into_iter());
        assert!(!refusals.has(&refused("bins-0")) && refusals.has(&refused("bins-1")));
    }

    #[test]
    fn forgets_the_oldest_for_another() {
        let refusals = Refusals::default();
        (0..=KNOWN_MAX).for_each(|number| refusals.add(&refused(&format!("bins-{number}"))));
        assert!(!refusals.has(&refused("bins-0")) && refusals.has(&refused("bins-1")));
        assert_eq!(refusals.lock().len(), KNOWN_MAX);
    }
}
