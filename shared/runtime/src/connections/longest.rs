//! Connections that wait for something, by how long they do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::peers::Peer;

/// Closes one connection, whatever it does.
#[derive(Debug, Clone)]
pub(crate) struct Closer(CancellationToken);

impl Closer {
    /// Of the connection that ends when `close` is cancelled.
    pub(super) fn new(close: CancellationToken) -> Self {
        Self(close)
    }

    pub(crate) fn close(&self) {
        self.0.cancel();
    }
}

/// Who waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) peer: Peer,
    pub(crate) since: Instant,
    pub(crate) closer: Closer,
}

/// Those that wait, longest first. Cheap to clone; clones are one list.
#[derive(Debug, Clone, Default)]
pub(crate) struct LongestFirst(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    /// The place of whoever waits next.
    next: u64,
    by_place: BTreeMap<u64, Waiting>,
}

impl LongestFirst {
    /// A connection of `peer` waits from now on. Answers its place.
    pub(crate) fn insert(&self, peer: Peer, closer: &Closer) -> u64 {
        let mut list = self.lock();
        let place = list.next;
        list.next += 1;
        list.by_place.insert(place, Waiting { peer, since: Instant::now(), closer: closer.clone() });
        place
    }

    /// The one at this place waits no more.
    pub(crate) fn remove(&self, place: u64) {
        self.lock().by_place.remove(&place);
    }

    /// The one `of` this peer, or of any, that has waited longest.
    pub(crate) fn longest(&self, of: Option<Peer>) -> Option<Waiting> {
        self.lock().longest(of).map(|(_, waiting)| waiting.clone())
    }

    /// Takes that one out, if it has waited since `since` or before.
    pub(crate) fn take_longest(&self, since: Instant, of: Option<Peer>) -> Option<Waiting> {
        let mut list = self.lock();
        let place = list.longest(of).filter(|(_, waiting)| waiting.since <= since).map(|(place, _)| place);
        place.and_then(|place| list.by_place.remove(&place))
    }

    /// All that have waited for `min` or longer.
    pub(crate) fn for_long(&self, min: Duration) -> Vec<Waiting> {
        self.lock().by_place.values().take_while(|it| it.since.elapsed() >= min).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn longest(&self, of: Option<Peer>) -> Option<(u64, &Waiting)> {
        let mut waiting = self.by_place.iter();
        waiting.find(|(_, it)| of.is_none_or(|peer| it.peer == peer)).map(|(place, it)| (*place, it))
    }
}
