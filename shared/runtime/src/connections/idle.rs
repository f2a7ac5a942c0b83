//! Which connections have no request under way, and for how long.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peers::Peer;

/// The connections without a request, longest idle first. Cheap to clone; clones are one list.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    /// The place of whoever becomes idle next.
    next: u64,
    by_place: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    since: Instant,
    close: CancellationToken,
}

impl Idle {
    /// Since when the longest idle connection `of` this peer, or of any, is.
    pub(super) fn longest(&self, of: Option<Peer>) -> Option<Instant> {
        lock(&self.0).longest(of).map(|(_, since)| since)
    }

    /// Closes the longest idle connection `of` this peer, or of any, if it is so since `since` or before. Says whether
    /// it did.
    pub(super) fn close_longest(&self, since: Instant, of: Option<Peer>) -> bool {
        let mut list = lock(&self.0);
        let longest = list.longest(of).filter(|(_, idle)| *idle <= since);
        let entry = longest.and_then(|(place, _)| list.by_place.remove(&place));
        entry.map(|it| it.close.cancel()).is_some()
    }

    fn insert(&self, peer: Peer, close: &CancellationToken) -> u64 {
        let mut list = lock(&self.0);
        let place = list.next;
        list.next += 1;
        list.by_place.insert(place, Entry { peer, since: Instant::now(), close: close.clone() });
        place
    }

    fn remove(&self, place: u64) {
        lock(&self.0).by_place.remove(&place);
    }
}

impl List {
    fn longest(&self, of: Option<Peer>) -> Option<(u64, Instant)> {
        let mut entries = self.by_place.iter();
        let found = entries.find(|(_, entry)| of.is_none_or(|peer| entry.peer == peer));
        found.map(|(place, entry)| (*place, entry.since))
    }
}

/// What one connection does; dropping it ends that.
#[derive(Debug)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Idle,
    peer: Peer,
    close: CancellationToken,
    now: Mutex<Now>,
}

#[derive(Debug)]
enum Now {
    Idle { place: u64 },
    Busy { requests: usize },
    Closed,
}

impl Activity {
    /// Of a connection of `peer` that was accepted just now, and which `close` closes.
    pub(super) fn new(idle: Idle, peer: Peer, close: CancellationToken) -> Self {
        let now = Mutex::new(Now::Idle { place: idle.insert(peer, &close) });
        Self(Arc::new(Shared { idle, peer, close, now }))
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
            self.0.idle.remove(place);
        }
    }
}

/// The requests of one connection, which is not idle while it has one.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Shared>);

impl Requests {
    /// Whoever has it may close the connection.
    pub(crate) fn closer(&self) -> Closer {
        Closer(self.0.close.clone())
    }

    /// One more is under way until the answer is dropped.
    pub fn begin(&self) -> UnderWay {
        let mut now = lock(&self.0.now);
        match &mut *now {
            Now::Idle { place } => {
                self.0.idle.remove(*place);
                *now = Now::Busy { requests: 1 };
            }
            Now::Busy { requests } => *requests += 1,
            Now::Closed => {}
        }
        UnderWay(self.0.clone())
    }
}

/// Closes one connection, whatever it does.
#[derive(Debug, Clone)]
pub(crate) struct Closer(CancellationToken);

impl Closer {
    pub(crate) fn close(&self) {
        self.0.cancel();
    }
}

/// A request under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut now = lock(&self.0.now);
        match &mut *now {
            Now::Busy { requests: 1 } => *now = Now::Idle { place: self.0.idle.insert(self.0.peer, &self.0.close) },
            Now::Busy { requests } => *requests -= 1,
            Now::Idle { .. } | Now::Closed => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
