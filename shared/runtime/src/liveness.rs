//! Whether what must go round still does. A loop beats at each turn and while it waits for work; whoever works for it
//! beats as that goes on. One that has not beaten for [`BEAT_MAX`] will not by itself: only a new process mends that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a loop may go without a beat: above whatever it may wait for at once. A call to another service that stands
/// still is given up long before (see [`crate::STALL_MAX`]), and what is large beats as it goes on.
pub const BEAT_MAX: Duration = Duration::from_secs(600);

/// How often a loop beats while it waits.
const BEAT_PERIOD: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// That of the loop which this work is for.
    static CURRENT: Heartbeat;
}

/// The loops of one service. Cheap to clone; clones are one list.
#[derive(Debug, Clone, Default)]
pub struct Liveness {
    /// When each beat last.
    loops: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
}

/// The beat of one loop.
#[derive(Debug, Clone)]
struct Heartbeat {
    liveness: Liveness,
    name: &'static str,
}

impl Liveness {
    /// Runs a loop, which must beat from now on until it ends or is dropped. What it calls may [`beat`] for it, also in
    /// [`crate::blocking`], but not in tasks that it spawns.
    pub async fn watch<T>(&self, name: &'static str, turns: impl Future<Output = T>) -> T {
        let heartbeat = Heartbeat { liveness: self.clone(), name };
        heartbeat.beat();
        let _watched = Watched(heartbeat.clone());
        CURRENT.scope(heartbeat, turns).await
    }

    /// The loops that have not beaten for [`BEAT_MAX`] or longer, and for how long they have not.
    pub fn stalled(&self) -> Vec<(&'static str, Duration)> {
        let loops = self.lock();
        let stood = loops.iter().map(|(name, last)| (*name, last.elapsed()));
        stood.filter(|(_, stood)| *stood >= BEAT_MAX).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Instant>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeat {
    fn beat(&self) {
        self.liveness.lock().insert(self.name, Instant::now());
    }
}

struct Watched(Heartbeat);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.liveness.lock().remove(self.0.name);
    }
}

/// The loop that this work is for goes on; nothing where it is for none.
pub fn beat() {
    let _ = CURRENT.try_with(Heartbeat::beat);
}

/// Waits for what may legally take any time, and beats meanwhile.
pub async fn idle<T>(wait: impl Future<Output = T>) -> T {
    let mut wait = std::pin::pin!(wait);
    loop {
        beat();
        if let Ok(done) = tokio::time::timeout(BEAT_PERIOD, &mut wait).await {
            beat();
            return done;
        }
    }
}

/// `work`, to be done on another thread for the same loop.
pub(crate) fn for_the_same<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let current = CURRENT.try_with(Heartbeat::clone).ok();
    move || match current {
        Some(heartbeat) => CURRENT.sync_scope(heartbeat, work),
        None => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocking;

    /// The clock of these tests moves only while everything waits.
    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_named_and_one_that_waits_is_not() {
        let (liveness, second) = (Liveness::default(), Duration::from_secs(1));
        let waits = tokio::spawn({
            let liveness = liveness.clone();
            async move { liveness.watch("waits", idle(std::future::pending::<()>())).await }
        });
        let stands = tokio::spawn({
            let liveness = liveness.clone();
            async move { liveness.watch("stands", std::future::pending::<()>()).await }
        });
        tokio::time::sleep(BEAT_MAX - second).await;
        assert_eq!(liveness.stalled(), []);
        tokio::time::sleep(second * 2).await;
        assert!(matches!(liveness.stalled()[..], [("stands", stood)] if stood >= BEAT_MAX));
        stands.abort();
        waits.abort();
        let _ended = (stands.await, waits.await);
        tokio::time::sleep(BEAT_MAX * 2).await;
        assert_eq!(liveness.stalled(), [], "what has ended need not beat");
    }

    #[tokio::test(start_paused = true)]
    async fn work_on_other_threads_beats_for_its_loop() {
        let liveness = Liveness::default();
        beat();
        let turns = async {
            tokio::time::sleep(BEAT_MAX).await;
            assert_eq!(liveness.stalled().len(), 1);
            blocking(beat).await.unwrap();
            assert_eq!(liveness.stalled(), []);
        };
        liveness.watch("works", turns).await;
    }
}
