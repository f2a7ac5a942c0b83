//! Which connections have no request under way, and for how long.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
    since: Instant,
    close: CancellationToken,
}

impl Idle {
    /// Since when the longest idle connection is.
    pub(super) fn longest(&self) -> Option<Instant> {
        lock(&self.0).by_place.first_key_value().map(|(_, entry)| entry.since)
    }

    /// Closes the longest idle connection, if it is so since `since` or before. Says whether it did.
    pub(super) fn close_longest(&self, since: Instant) -> bool {
        let mut list = lock(&self.0);
        let longest = list.by_place.first_entry().filter(|entry| entry.get().since <= since);
        longest.map(|entry| entry.remove().close.cancel()).is_some()
    }

    fn insert(&self, close: &CancellationToken) -> u64 {
        let mut list = lock(&self.0);
        let place = list.next;
        list.next += 1;
        list.by_place.insert(place, Entry { since: Instant::now(), close: close.clone() });
        place
    }

    fn remove(&self, place: u64) {
        lock(&self.0).by_place.remove(&place);
    }
}

/// What one connection does; dropping it ends that.
#[derive(Debug)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Idle,
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
    /// Of a connection that was accepted just now, and which `close` closes.
    pub(super) fn new(idle: Idle, close: CancellationToken) -> Self {
        let now = Mutex::new(Now::Idle { place: idle.insert(&close) });
        Self(Arc::new(Shared { idle, close, now }))
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

/// The requests of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<Shared>);

impl Requests {
    /// One more is under way until the answer is dropped.
    pub(crate) fn begin(&self) -> UnderWay {
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

/// A request under way.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut now = lock(&self.0.now);
        match &mut *now {
            Now::Busy { requests: 1 } => *now = Now::Idle { place: self.0.idle.insert(&self.0.close) },
            Now::Busy { requests } => *requests -= 1,
            Now::Idle { .. } | Now::Closed => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
