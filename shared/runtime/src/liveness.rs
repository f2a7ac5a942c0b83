//! Whether a process can still do its work, or should be ended and started anew.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// What the process knows about its own health. Cheap to clone; clones are one record.
///
/// It is failed for good by [`Liveness::fail`] or by a loop that ended without saying so, and failing for as long as a
/// loop misses its heartbeat. Time here is the machine's monotonic clock, never [`crate::Clock`].
#[derive(Debug, Clone, Default)]
pub struct Liveness(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    fatal: Option<String>,
    next: u64,
    loops: BTreeMap<u64, Loop>,
}

#[derive(Debug)]
struct Loop {
    name: String,
    period_max: Duration,
    seen: Instant,
}

impl Liveness {
    /// A record without loops and without failures.
    pub fn new() -> Liveness {
        Liveness::default()
    }

    /// Reports a failure that only a new process can mend. The first one stays.
    pub fn fail(&self, reason: impl Into<String>) {
        self.0.send_modify(|state| {
            state.fatal.get_or_insert_with(|| reason.into());
        });
    }

    /// Registers the main loop `name`, which promises to call [`Heartbeat::beat`] at least every `period_max`.
    pub fn heartbeat(&self, name: impl Into<String>, period_max: Duration) -> Heartbeat {
        let mut id = 0;
        self.0.send_modify(|state| {
            id = state.next;
            state.next += 1;
            state.loops.insert(id, Loop { name: name.into(), period_max, seen: Instant::now() });
        });
        Heartbeat { liveness: self.clone(), id, finished: false }
    }

    /// What is wrong now; empty exactly when the process is alive.
    pub fn failures(&self) -> Vec<String> {
        let state = self.0.borrow();
        let silent = state.loops.values().filter_map(|it| {
            let silent = it.seen.elapsed();
            (silent > it.period_max).then(|| {
                format!(
                    "{} has been silent for {} s, allowed are {} s",
                    it.name,
                    silent.as_secs(),
                    it.period_max.as_secs()
                )
            })
        });
        state.fatal.iter().cloned().chain(silent).collect()
    }

    /// Waits for a failure that only a new process can mend, and names it.
    pub async fn failed(&self) -> String {
        let mut state = self.0.subscribe();
        match state.wait_for(|state| state.fatal.is_some()).await {
            Ok(state) => state.fatal.clone().unwrap_or_default(),
            // The sender lives in `self`, so this cannot happen.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The heartbeat of one main loop. Dropping it without [`Heartbeat::finish`] reports that the loop died, so that a
/// panic cannot pass for health.
#[derive(Debug)]
#[must_use = "dropping a heartbeat reports that its loop died"]
pub struct Heartbeat {
    liveness: Liveness,
    id: u64,
    finished: bool,
}

impl Heartbeat {
    /// Says that the loop is alive.
    pub fn beat(&self) {
        self.liveness.0.send_modify(|state| {
            if let Some(it) = state.loops.get_mut(&self.id) {
                it.seen = Instant::now();
            }
        });
    }

    /// Says that the loop ended as it should.
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.liveness.0.send_modify(|state| {
            let Some(it) = state.loops.remove(&self.id) else { return };
            if !self.finished {
                state.fatal.get_or_insert_with(|| format!("{} ended unexpectedly", it.name));
            }
        });
    }
}
