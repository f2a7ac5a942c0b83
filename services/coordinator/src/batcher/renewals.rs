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

    /// What is to be renewed now. What is withdrawn is at once, so that it is not seen after all where the journal is
    /// lost.
    pub(super) fn due(&self, repository: &Repository, published: &Published, now: Timestamp) -> BTreeSet<RoleName> {
        let mut known = self.lock();
        known.put_off.retain(|_, until| *until > now);
        let due = published.due(repository, now, known.at_once + known.put_off.len());
        let due = published.withdrawn().into_keys().chain(due);
        due.filter(|role| !known.put_off.contains_key(role)).take(known.at_once).collect()
    }

    /// Whose turn it is, where `due` has to be renewed. Renewals go apart where some were refused, or something is in
    /// doubt: what waits is suspect, or is withdrawn and must not be mixed with what comes. Then these take turns, and
    /// renewals have the first one.
    pub(super) fn turn(&self, due: BTreeSet<RoleName>, in_doubt: bool, is_idle: bool) -> Turn {
        let mut known = self.lock();
        if due.is_empty() || (!known.apart && !in_doubt) {
            known.had_turn = false;
            return Turn::Both(due);
        }
        known.had_turn = !known.had_turn || is_idle;
        if known.had_turn { Turn::Renewals(due) } else { Turn::Submissions }
    }

    /// When something has to be renewed next.
    pub(super) fn next_due(&self, repository: &Repository, published: &Published, now: Timestamp) -> Timestamp {
        let known = self.lock();
        if published.withdrawn().keys().any(|role| !known.put_off.contains_key(role)) {
            return now;
        }
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

    /// A batch of these roles was published, one of renewals alone or not. Answers whether none is put off any more.
    pub(super) fn published(&self, roles: &[RoleName], alone: bool) -> bool {
        let mut known = self.lock();
        for role in roles {
            known.put_off.remove(role);
        }
        if alone {
            known.at_once = known.at_once.saturating_mul(2).min(AT_ONCE_MAX);
            known.apart = !known.put_off.is_empty() || known.at_once < AT_ONCE_MAX;
        }
        known.put_off.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use rstuf_api::DocumentRef;
    use rstuf_runtime::Metrics;
    use rstuf_store::{Options, Store};
    use rstuf_tuf::{Sha256, Version};
    use uuid::Uuid;

    use super::*;
    use crate::{
        journal::{Journal, rows::RolePlan},
        published::testing::repository,
        publisher::DirectoryPublisher,
    };

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
        let turn = |in_doubt, is_idle| renewals.turn([RoleName::targets()].into(), in_doubt, is_idle);
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
        assert!(matches!(turn(false, false), Turn::Renewals(_)), "they have the first turn");
        renewals.refused(&batch(&["bins-0"], &[]), Timestamp::UNIX_EPOCH);
        let role = |name: &str| [name.parse().unwrap()];
        assert!(!renewals.published(&role("bins-1"), true));
        assert!(!renewals.published(&[], false), "what was submitted proves nothing");
        assert!(renewals.published(&role("bins-0"), true));
        assert!(matches!(turn(false, false), Turn::Both(_)));
        assert!(!matches!(turn(true, false), Turn::Both(_)), "what is in doubt goes apart");
    }

    /// What is withdrawn is taken back at once, also where nobody asks for anything and nothing expires, but not for
    /// ever again where that is refused.
    #[test]
    fn what_is_withdrawn_is_due_unless_it_is_put_off() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(dir.path().join("state"), "coordinator")).unwrap();
        let journal = Journal::open(store, &Metrics::new("coordinator")).unwrap();
        let publisher = DirectoryPublisher::open(&dir.path().join("published"), "this test").unwrap();
        let published = Published::load(&journal, Arc::new(publisher)).unwrap();
        let (renewals, repository, now) = (Renewals::new(), repository("succinct:4"), Timestamp::UNIX_EPOCH);
        assert_eq!(renewals.next_due(&repository, &published, now), Timestamp::MAX);
        let role: RoleName = "bins-0".parse().unwrap();
        let document = DocumentRef { role: role.clone(), version: Version::ONE, sha256: Sha256([7; 32]), length: 1 };
        published.withdraw(vec![document]);
        assert_eq!(renewals.next_due(&repository, &published, now), now);
        assert_eq!(renewals.due(&repository, &published, now), [role].into());
        renewals.refused(&batch(&["bins-0"], &[]), now);
        assert_eq!(renewals.next_due(&repository, &published, now), later(now, PUT_OFF));
        assert!(renewals.due(&repository, &published, now).is_empty());
    }
}
