//! How far a signing is: callers give up what stands still, and a large request takes longer than they wait for that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How often callers are told, where there is something to tell: well within [`rstuf_runtime::STALL_MAX`].
const TOLD_PERIOD: Duration = Duration::from_secs(30);

/// What is done of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Roles whose changes were checked.
    pub roles_checked: u32,
    /// Roles whose documents were made.
    pub roles_made: u32,
}

/// Counts what is done of one request. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    checked: Arc<AtomicU32>,
    made: Arc<AtomicU32>,
}

impl Progress {
    /// One more role was checked.
    pub(crate) fn checked(&self) {
        self.checked.fetch_add(1, Ordering::Relaxed);
    }

    /// One more document was made, or found to be unchanged.
    pub(crate) fn made(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for `work`, and calls `tell` now and then while it goes on; not where it stands still.
    pub(crate) async fn told<T, F>(&self, work: impl Future<Output = T>, tell: impl Fn(Done) -> F) -> T
    where
        F: Future<Output = ()>,
    {
        let mut work = std::pin::pin!(work);
        let mut told = self.now();
        loop {
            if let Ok(done) = tokio::time::timeout(TOLD_PERIOD, &mut work).await {
                return done;
            }
            let now = self.now();
            if now != told {
                told = now;
                // The work must not wait for a caller that does not read.
                tokio::select! {
                    biased;
                    done = &mut work => return done,
                    () = tell(now) => {}
                }
            }
        }
    }

    fn now(&self) -> Done {
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
        Done { roles_checked: of(&self.checked), roles_made: of(&self.made) }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use rstuf_runtime::STALL_MAX;
    use tokio::time::Instant;

    use super::*;

    /// The clock of this test moves only while everything waits.
    #[tokio::test(start_paused = true)]
    async fn work_that_goes_on_is_told_of_in_time_and_what_stands_still_is_not() {
        let (progress, told, begun) = (Progress::default(), RefCell::new(Vec::new()), Instant::now());
        let work = async {
            for step in [Progress::checked, Progress::made] {
                for _ in 0..20 {
                    tokio::time::sleep(TOLD_PERIOD).await;
                    step(&progress);
                }
            }
            tokio::time::sleep(STALL_MAX * 2).await;
        };
        let tell = |now| {
            told.borrow_mut().push((begun.elapsed(), now));
            std::future::ready(())
        };
        progress.told(work, tell).await;
        let told = told.into_inner();
        let last = Done { roles_checked: 20, roles_made: 20 };
        assert_eq!(told.last().map(|(_, now)| *now), Some(last));
        let times = || std::iter::once(Duration::ZERO).chain(told.iter().map(|(at, _)| *at));
        assert!(times().zip(times().skip(1)).all(|(before, at)| at - before < STALL_MAX), "{told:?}");
        assert!(begun.elapsed() - told.last().unwrap().0 >= STALL_MAX, "{told:?}");
    }

    /// The clock of this test moves only while everything waits.
    #[tokio::test(start_paused = true)]
    async fn work_waits_for_no_caller() {
        let progress = Progress::default();
        let work = async {
            progress.made();
            tokio::time::sleep(STALL_MAX).await;
        };
        let begun = Instant::now();
        progress.told(work, |_| std::future::pending()).await;
        assert_eq!(begun.elapsed(), STALL_MAX);
    }
}
