//! A latch that says when a process may be given work, and why not until then.

use std::{collections::BTreeMap, fmt};

use tokio::sync::watch;

use crate::Shutdown;

/// Ready once nobody holds it and as long as the process is not shutting down. Cheap to clone; clones are one latch.
#[derive(Debug, Clone)]
pub struct Readiness {
    holds: watch::Sender<Holds>,
    shutdown: Shutdown,
}

#[derive(Debug, Default)]
struct Holds {
    next: u64,
    reasons: BTreeMap<u64, Reason>,
    warnings: BTreeMap<u64, String>,
}

/// Why a process is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It passes by itself: somebody who waits will see it gone.
    Pending(String),
    /// It stays until somebody mends it.
    Error(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending(reason) => formatter.write_str(reason),
            Self::Error(reason) => write!(formatter, "error, waiting will not mend it: {reason}"),
        }
    }
}

impl Readiness {
    /// A latch that nobody holds yet: take the first [`Readiness::hold`] before anything serves.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { holds: watch::Sender::default(), shutdown }
    }

    /// Keeps the process unready, for a `reason` that passes, until the answer is dropped. Holds may be taken at any
    /// time, also by a process that was ready before.
    pub fn hold(&self, reason: impl Into<String>) -> Hold {
        self.hold_for(Reason::Pending(reason.into()))
    }

    /// As [`Readiness::hold`], for an error that waiting cannot mend; dropping the answer takes it back.
    pub fn hold_error(&self, reason: impl Into<String>) -> Hold {
        self.hold_for(Reason::Error(reason.into()))
    }

    /// Says what is not as it should be until the answer is dropped; the process stays as ready as it is.
    pub fn warn(&self, warning: impl Into<String>) -> Hold {
        self.insert(|holds, id| drop(holds.warnings.insert(id, warning.into())))
    }

    fn hold_for(&self, reason: Reason) -> Hold {
        self.insert(|holds, id| drop(holds.reasons.insert(id, reason)))
    }

    fn insert(&self, insert: impl FnOnce(&mut Holds, u64)) -> Hold {
        let mut id = 0;
        self.holds.send_modify(|holds| {
            id = holds.next;
            holds.next += 1;
            insert(holds, id);
        });
        Hold { holds: self.holds.clone(), id }
    }

    /// Why the process is not ready: errors first, then oldest first; empty exactly when it is ready.
    pub fn reasons(&self) -> Vec<Reason> {
        let shutdown = self.shutdown.is_triggered().then(|| Reason::Pending("shutting down".to_owned()));
        let mut reasons: Vec<_> = shutdown.into_iter().chain(self.holds.borrow().reasons.values().cloned()).collect();
        reasons.sort_by_key(|it| matches!(it, Reason::Pending(_)));
        reasons
    }

    /// What is not as it should be, oldest first.
    pub fn warnings(&self) -> Vec<String> {
        self.holds.borrow().warnings.values().cloned().collect()
    }

    /// Whether the process may be given work.
    pub fn is_ready(&self) -> bool {
        !self.shutdown.is_triggered() && self.holds.borrow().reasons.is_empty()
    }

    /// Waits until the process is ready; for ever where it is shutting down.
    pub async fn ready(&self) {
        self.changed_to(true).await;
    }

    /// Waits until [`Readiness::is_ready`] is `ready`.
    pub(crate) async fn changed_to(&self, ready: bool) {
        // The sender lives in `self`, so waiting cannot fail.
        let mut holds = self.holds.subscribe();
        let reached = holds.wait_for(|holds| holds.reasons.is_empty() == ready);
        if ready {
            let _ = reached.await;
            if self.shutdown.is_triggered() {
                std::future::pending::<()>().await;
            }
        } else {
            tokio::select! {
                _ = reached => {}
                () = self.shutdown.wait() => {}
            }
        }
    }
}

/// A reason why the process is not ready, or a warning; dropping it takes that away.
#[derive(Debug)]
#[must_use = "it stands only until this is dropped"]
pub struct Hold {
    holds: watch::Sender<Holds>,
    id: u64,
}

impl Hold {
    /// Takes the reason away: the same as dropping it, but says so.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.send_modify(|holds| {
            holds.reasons.remove(&self.id);
            holds.warnings.remove(&self.id);
        });
    }
}
