//! Which connections have no request under way, and for how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::longest::{Closer, LongestFirst};
use crate::peers::Peer;

/// The connections without a request. Cheap to clone; clones are one list.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(LongestFirst);

impl Idle {
    /// Since when the longest idle connection `of` this peer, or of any, is.
    pub(super) fn longest(&self, of: Option<Peer>) -> Option<Instant> {
        self.0.longest(of).map(|idle| idle.since)
    }

    /// Closes the longest idle connection `of` this peer, or of any, if it is so since `since` or before. Says whether
    /// it did.
    pub(super) fn close_longest(&self, since: Instant, of: Option<Peer>) -> bool {
        self.0.take_longest(since, of).map(|idle| idle.closer.close()).is_some()
    }
}

/// What one connection does; dropping it ends that.
#[derive(Debug)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Idle,
    peer: Peer,
    closer: Closer,
    now: Mutex<Now>,
}

#[derive(Debug)]
enum Now {
    Idle { place: u64 },
    Busy { requests: usize },
    Closed,
}

impl Activity {
    /// Of a connection of `peer` that was accepted just now, and which `closer` closes.
    pub(super) fn new(idle: Idle, peer: Peer, closer: Closer) -> Self {
        let now = Mutex::new(Now::Idle { place: idle.0.insert(peer, &closer) });
        Self(Arc::new(Shared { idle, peer, closer, now }))
    }

    /// For whoever counts its requests.
    pub(super) fn requests(&self) -> Requests {
        Requests(self.0.clone())
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *lock(&self.0.now), Now::Closed);
        if let Now::Idle { place } = before {
            self.0.idle.0.remove(place);
        }
    }
}

/// The requests of one connection, which is not idle while it has one.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Shared>);

impl Requests {
    /// Whoever has it may close the connection.
    pub(crate) fn closer(&self) -> Closer {
        self.0.closer.clone()
    }

    /// One more is under way until the answer is dropped.
    pub fn begin(&self) -> UnderWay {
        let mut now = lock(&self.0.now);
        match &mut *now {
            Now::Idle { place } => {
                self.0.idle.0.remove(*place);
                *now = Now::Busy { requests: 1 };
            }
            Now::Busy { requests } => *requests += 1,
            Now::Closed => {}
        }
        UnderWay(self.0.clone())
    }
}

/// A request under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut now = lock(&self.0.now);
        match &mut *now {
            Now::Busy { requests: 1 } => {
                *now = Now::Idle { place: self.0.idle.0.insert(self.0.peer, &self.0.closer) };
            }
            Now::Busy { requests } => *requests -= 1,
            Now::Idle { .. } | Now::Closed => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
