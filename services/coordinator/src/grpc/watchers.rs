//! Who watches tasks. A watcher costs memory for as long as its task takes, and the server's own limit counts a request
//! only until its answer begins: so there are at most so many. When there is one more, the one that watches longest
//! gives way, so that nobody shuts others out by watching what never ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::intake::queue;

/// Watchers at a time: one for each submission that may wait.
pub(super) const WATCHERS_MAX: usize = queue::SUBMISSIONS_WAITING_MAX;

/// All watchers. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Watchers {
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    next: u64,
    /// In the order of their arrival; whoever is removed gives way.
    taken: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The place of one watcher, until it is dropped.
pub(super) struct Place {
    watchers: Watchers,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Watchers {
    /// Takes a place, if need be that of whoever watches longest.
    pub(super) fn enter(&self) -> Place {
        let (keep, lost) = oneshot::channel();
        let mut places = self.lock();
        if places.taken.len() >= WATCHERS_MAX {
            places.taken.pop_first();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, keep);
        Place { watchers: self.clone(), number, lost }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until another watcher has it.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent: the other side is dropped.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watchers.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_watches_longest_gives_way_and_who_left_makes_room() {
        let watchers = Watchers::default();
        let mut places: Vec<Place> = (0..WATCHERS_MAX).map(|_| watchers.enter()).collect();
        drop(places.swap_remove(1));
        let _fits = watchers.enter();
        assert!(places[0].lost.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let _one_more = watchers.enter();
        places[0].lost().await;
        assert_eq!(watchers.lock().taken.len(), WATCHERS_MAX);
        drop(places);
        assert_eq!(watchers.lock().taken.len(), 2);
    }
}
