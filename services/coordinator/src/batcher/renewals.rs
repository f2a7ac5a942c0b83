//! Which roles are renewed next. One that the signer refuses to renew must not keep the others, or what is submitted,
//! from being signed: refused renewals are asked for apart from submissions, in ever smaller groups, and one that is
//! refused alone is put off. Only in memory: a start asks for all again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rstuf_runtime::later;
use rstuf_tuf::RoleName;

use crate::{Repository, journal::rows::BatchRow, published::Published};

/// Roles renewed with one batch: more wait for the next one.
const AT_ONCE_MAX: usize = 1_024;
/// How long one waits that was refused alone. A bin is due for days.
const PUT_OFF: Duration = Duration::from_secs(10 * 60);

/// What is known of renewals.
pub(crate) struct Renewals(Mutex<Known>);

struct Known {
    at_once: usize,
    /// Whether some were refused: then they go apart from submissions.
    apart: bool,
    /// Whether the last batch was one of renewals apart: then it is the others' turn.
    had_turn: bool,
    /// Until when.
    put_off: BTreeMap<RoleName, Timestamp>,
}

/// What may go into the next batch.
pub(super) enum Turn {
    /// What waits, and these renewals.
    Both(BTreeSet<RoleName>),
    /// These renewals alone.
    Renewals(BTreeSet<RoleName>),
    /// What waits alone.
    Submissions,
}

impl Renewals {
    /// Nothing was refused yet.
    pub(crate) fn new() -> Self {
        let known = Known { at_once: AT_ONCE_MAX, apart: false, had_turn: false, put_off: BTreeMap::new() };
        Self(Mutex::new(known))
    }

    /// What is to be renewed now.
    pub(super) fn due(&self, repository: &Repository, published: &Published, now: Timestamp) -> BTreeSet<RoleName> {
        let mut known = self.lock();
        known.put_off.retain(|_, until| *until > now);
        let due = published.due(repository, now, known.at_once + known.put_off.len());
        due.into_iter().filter(|role| !known.put_off.contains_key(role)).take(known.at_once).collect()
    }

    /// Whose turn it is, where `due` has to be renewed. Renewals go apart where some were refused, or `is_suspect` says
    /// that of what waits; then these take turns.
    pub(super) fn turn(&self, due: BTreeSet<RoleName>, is_suspect: bool, is_idle: bool) -> Turn {
        let mut known = self.lock();
        if due.is_empty() || (!known.apart && !is_suspect) {
            return Turn::Both(due);
        }
        known.had_turn = !known.had_turn || is_idle;
        if known.had_turn { Turn::Renewals(due) } else { Turn::Submissions }
    }

    /// When something has to be renewed next.
    pub(super) fn next_due(&self, repository: &Repository, published: &Published, now: Timestamp) -> Timestamp {
        let known = self.lock();
        let due = published.next_due(repository, now, |role| known.put_off.contains_key(role));
        due.into_iter().chain(known.put_off.values().copied()).min().unwrap_or(Timestamp::MAX)
    }

    /// A batch with renewals was refused, for what it asks for.
    pub(super) fn refused(&self, batch: &BatchRow, now: Timestamp) {
        let mut known = self.lock();
        known.apart = true;
        match &batch.roles[..] {
            [plan] if batch.submissions.is_empty() => {
                known.put_off.insert(plan.role.clone(), later(now, PUT_OFF));
            }
            roles if batch.submissions.is_empty() => known.at_once = (roles.len() / 2).max(1),
            _ => {}
        }
    }

    /// A batch was signed. Answers whether nothing is in the way of renewals any more.
    pub(super) fn signed(&self, batch: &BatchRow) -> bool {
        let mut known = self.lock();
        for plan in &batch.roles {
            known.put_off.remove(&plan.role);
        }
        if batch.submissions.is_empty() {
            known.at_once = known.at_once.saturating_mul(2).min(AT_ONCE_MAX);
            known.apart = !known.put_off.is_empty() || known.at_once < AT_ONCE_MAX;
        }
        !known.apart
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

    use super::*;
    use crate::journal::rows::RolePlan;

    fn batch(roles: &[&str], submissions: &[u64]) -> BatchRow {
        BatchRow {
            id: Uuid::nil(),
            submissions: submissions.to_vec(),
            publishes: Vec::new(),
            roles: roles.iter().map(|role| RolePlan { renew: true, ..RolePlan::first(role) }).collect(),
            refusals: 0,
            offline: Vec::new(),
            applied: None,
            signed: None,
        }
    }

    /// After a refusal neither waits for more than one batch of the other, until all that was refused is signed.
    #[test]
    fn refused_renewals_take_turns_with_what_waits() {
        let renewals = Renewals::new();
        let turn = |is_suspect, is_idle| renewals.turn([RoleName::targets()].into(), is_suspect, is_idle);
        assert!(matches!(turn(false, false), Turn::Both(due) if due.len() == 1));
        renewals.refused(&batch(&["bins-0", "bins-1"], &[7]), Timestamp::UNIX_EPOCH);
        for _ in 0..3 {
            assert!(matches!(turn(false, false), Turn::Renewals(due) if due.len() == 1));
            assert!(matches!(turn(false, false), Turn::Submissions));
        }
        for _ in 0..3 {
            assert!(matches!(turn(false, true), Turn::Renewals(_)), "nothing waits");
        }
        assert!(matches!(renewals.turn(BTreeSet::new(), true, false), Turn::Both(due) if due.is_empty()));
        renewals.refused(&batch(&["bins-0"], &[]), Timestamp::UNIX_EPOCH);
        assert!(!renewals.signed(&batch(&["bins-1"], &[])));
        assert!(!renewals.signed(&batch(&[], &[7])), "what was submitted proves nothing");
        assert!(renewals.signed(&batch(&["bins-0"], &[])));
        assert!(matches!(turn(false, false), Turn::Both(_)));
        assert!(!matches!(turn(true, false), Turn::Both(_)), "what is suspect goes apart");
    }
}
