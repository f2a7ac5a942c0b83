//! Bounds how fast publications follow each other: the bytes that they write, because a busy repository with thousands
//! of bins writes a large snapshot with every publication, and its mirrors keep them for the grace time; and their
//! number, because versions of snapshot and timestamp are not endless, and their signers sign no faster. An idle
//! repository publishes at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

/// Bytes that may be written a second in the long run.
const BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
/// Bytes that may be written at once after a quiet time.
const BURST_BYTES: u64 = 512 * 1024 * 1024;
/// The longest wait for bytes: also a huge publication is waited for so long once, by whatever comes next.
const BYTES_WAIT_MAX: Duration = Duration::from_secs(2);
/// One publication in this time in the long run: what the signers' budgets of versions allow.
const PUBLICATION_PERIOD: Duration = Duration::from_millis(250);
/// Publications that may follow each other at once after a quiet time: fewer than the signers allow, which leaves some
/// to renewals.
const BURST_PUBLICATIONS: u32 = 800;

/// Two buckets that fill with time and that publications empty. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pace {
    buckets: Arc<Mutex<Buckets>>,
}

/// When each bucket would be full again, were nothing published any more.
struct Buckets {
    bytes: Instant,
    publications: Instant,
}

impl Pace {
    /// With full buckets.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { buckets: Arc::new(Mutex::new(Buckets { bytes: now, publications: now })) }
    }

    /// Counts a publication that wrote so many bytes.
    pub(crate) fn published(&self, bytes: u64) {
        let (mut buckets, now) = (self.lock(), Instant::now());
        let longest = now + time_for(BURST_BYTES) + BYTES_WAIT_MAX;
        buckets.bytes = (buckets.bytes.max(now) + time_for(bytes)).min(longest);
        buckets.publications = buckets.publications.max(now) + PUBLICATION_PERIOD;
    }

    /// Waits until the next publication may begin.
    pub(crate) async fn ready(&self) {
        let (wait, now) = {
            let (buckets, now) = (self.lock(), Instant::now());
            let debt = |full_at: Instant, burst| full_at.saturating_duration_since(now).saturating_sub(burst);
            let bytes = debt(buckets.bytes, time_for(BURST_BYTES));
            (bytes.max(debt(buckets.publications, PUBLICATION_PERIOD * BURST_PUBLICATIONS)), now)
        };
        tokio::time::sleep_until(now + wait).await;
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn time_for(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstuf_signing::testing::Versions;

    use super::*;

    /// Renewals of a timestamp between publications, which wait for nobody.
    const RENEWALS: usize = 190;

    /// Milliseconds; mostly there is more to publish at once.
    fn pause() -> impl Strategy<Value = u64> {
        prop_oneof![100 => Just(0), 2 => 0..1_000_u64, 1 => 0..5_000_u64]
    }

    /// The coordinator publishes whenever it may after these pauses, and at one of them renews.
    async fn publishes(pauses: &[u64], renews_at: usize) {
        let (pace, start, mut versions) = (Pace::new(), Instant::now(), Versions::default());
        for (number, pause) in pauses.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
            if number == renews_at {
                (0..RENEWALS).for_each(|_| versions.sign_next(start.elapsed()));
            }
            pace.ready().await;
            versions.sign_next(start.elapsed());
            pace.published(1);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever there is to publish, and whenever: no signer refuses a version for having come too early.
        #[test]
        fn signers_budgets_are_kept(
            pauses in prop::collection::vec(pause(), 1..3_000),
            renews_at in any::<prop::sample::Index>(),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.unwrap().block_on(publishes(&pauses, renews_at.index(pauses.len())));
        }
    }

    /// Timers tick in milliseconds.
    fn took(start: Instant, expected: Duration) -> bool {
        (expected..=expected + Duration::from_millis(2)).contains(&start.elapsed())
    }

    /// An idle repository never waits; one that writes without pause is slowed down, but never longer than the bound,
    /// and a huge publication slows down only the next one.
    #[tokio::test(start_paused = true)]
    async fn waits_only_under_load() {
        let pace = Pace::new();
        let start = Instant::now();
        for _ in 0..10 {
            pace.ready().await;
            pace.published(BURST_BYTES / 10);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.published(BYTES_PER_SECOND);
        pace.ready().await;
        assert!(took(start, Duration::from_secs(1)), "{:?}", start.elapsed());
        pace.published(100 * BURST_BYTES);
        let before = Instant::now();
        pace.ready().await;
        assert!(took(before, BYTES_WAIT_MAX));
        let before = Instant::now();
        for _ in 0..10 {
            pace.published(1);
            pace.ready().await;
        }
        assert!(took(before, Duration::ZERO), "{:?}", before.elapsed());
    }

    /// A burst follows at once; then there are four a second, however small, until it was quiet again.
    #[tokio::test(start_paused = true)]
    async fn publications_are_no_faster_than_signers_sign() {
        let pace = Pace::new();
        for _ in 0..2 {
            let start = Instant::now();
            for _ in 0..BURST_PUBLICATIONS {
                pace.ready().await;
                pace.published(1);
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
            for _ in 0..40 {
                pace.published(1);
                pace.ready().await;
            }
            assert!(took(start, 40 * PUBLICATION_PERIOD), "{:?}", start.elapsed());
            tokio::time::sleep(PUBLICATION_PERIOD * BURST_PUBLICATIONS).await;
        }
    }
}
