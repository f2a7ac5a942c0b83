//! The digests of files: computed once for each state of a file, whoever waits for them or no longer does.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use lru::LruCache;
use prometheus_client::metrics::counter::Counter;
use rstuf_runtime::Clock;
use rstuf_tuf::Sha256;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::files::{Identity, OpenFile};

/// Files whose digests are remembered; an entry is about 150 bytes.
const DIGESTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

/// Files hashed at the same time. More would only compete for the same disk and cores with the requests being answered.
const HASHING_MAX: usize = 2;

/// A file that changed so recently may change again without a new time: those of some file systems have coarse steps.
const SETTLED_AFTER_SECONDS: u64 = 1;

/// The digests of the files of one directory; those of the files used last are remembered. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    clock: Clock,
    hashed: Counter,
    known: Arc<Mutex<LruCache<Identity, Sha256>>>,
    /// Of the files that are hashed or waited for.
    turns: Arc<Mutex<HashMap<Identity, Weak<Turn>>>>,
    hashing: Arc<Semaphore>,
}

/// Held by whoever hashes a file: others who want it wait for that one.
type Turn = tokio::sync::Mutex<()>;

/// A digest, and whether it was computed for this answer.
pub(crate) struct Known {
    pub(crate) digest: Sha256,
    pub(crate) fresh: bool,
}

impl Digests {
    /// `hashed` counts files.
    pub(crate) fn new(clock: Clock, hashed: Counter) -> Self {
        let known = Arc::new(Mutex::new(LruCache::new(DIGESTS_MAX)));
        Self { clock, hashed, known, turns: Arc::default(), hashing: Arc::new(Semaphore::new(HASHING_MAX)) }
    }

    /// The SHA-256 of the file's bytes. Hashing that has begun goes on and is remembered when nobody waits for it any
    /// more, and keeps its permit: clients that ask and leave get no more of the machine than those that stay.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or was written to while it was.
    pub(crate) async fn of(&self, file: &OpenFile) -> io::Result<Known> {
        if let Some(digest) = self.get(file.identity()) {
            return Ok(Known { digest, fresh: false });
        }
        let turn = self.turn(file.identity()).lock_owned().await;
        // Whoever had the turn before has hashed this very file.
        if let Some(digest) = self.get(file.identity()) {
            return Ok(Known { digest, fresh: false });
        }
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(io::Error::other)?;
        self.hashed.inc();
        let (this, file) = (self.clone(), file.clone());
        let hash = move || {
            let digest = this.hash(&file);
            drop((turn, permit));
            digest
        };
        let digest = spawn_blocking(hash).await.map_err(io::Error::other)??;
        Ok(Known { digest, fresh: true })
    }

    fn hash(&self, file: &OpenFile) -> io::Result<Sha256> {
        let settled = self.settled(file.identity());
        let digest = file.digest()?;
        file.check_unchanged()?;
        if settled {
            lock(&self.known).put(file.identity(), digest);
        }
        Ok(digest)
    }

    /// Whether whatever is written to the file from now on shows in its identity.
    pub(crate) fn settled(&self, identity: Identity) -> bool {
        self.clock.now().as_second().abs_diff(identity.changed_second()) > SETTLED_AFTER_SECONDS
    }

    fn get(&self, identity: Identity) -> Option<Sha256> {
        lock(&self.known).get(&identity).copied()
    }

    fn turn(&self, identity: Identity) -> Arc<Turn> {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(&identity).and_then(Weak::upgrade) {
            return turn;
        }
        // What is left is one for each request that waits, and for each permit.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::<Turn>::default();
        turns.insert(identity, Arc::downgrade(&turn));
        turn
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
