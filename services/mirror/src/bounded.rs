//! What was used last, up to a number of entries and a sum of bytes.

use std::{
    borrow::Borrow,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

/// Values that are cheap to clone, those used last. The newest is kept whatever its bytes.
pub(crate) struct Bounded<K: Hash + Eq, V> {
    bytes_max: u64,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K: Hash + Eq, V> {
    by_key: LruCache<K, (V, u64)>,
    bytes: u64,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    pub(crate) fn new(entries_max: NonZeroUsize, bytes_max: u64) -> Self {
        Self { bytes_max, entries: Mutex::new(Entries { by_key: LruCache::new(entries_max), bytes: 0 }) }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.lock().by_key.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps a value that takes so many bytes, in the place of what is there under the key.
    pub(crate) fn put(&self, key: K, value: V, bytes: u64) {
        let mut entries = self.lock();
        entries.bytes += bytes;
        // The one of that key, or, where there are too many, the one used longest ago.
        if let Some((_, (_, dropped))) = entries.by_key.push(key, (value, bytes)) {
            entries.bytes -= dropped;
        }
        while entries.bytes > self.bytes_max && entries.by_key.len() > 1 {
            let Some((_, (_, dropped))) = entries.by_key.pop_lru() else { break };
            entries.bytes -= dropped;
        }
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut entries = self.lock();
        if let Some((_, dropped)) = entries.by_key.pop(key) {
            entries.bytes -= dropped;
        }
    }

    /// Of all entries.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_number_nor_bytes_grow_beyond_their_bounds() {
        let kept = Bounded::new(NonZeroUsize::new(3).unwrap(), 100);
        let held = |keys: [u8; 5]| keys.map(|key| kept.get(&key).is_some());
        for key in 1..=4_u8 {
            kept.put(key, key, 10);
        }
        assert_eq!(held([1, 2, 3, 4, 5]), [false, true, true, true, false]);
        kept.put(2, 2, 70);
        // The one used longest ago goes until the bytes fit: 3, since 2 was put again.
        assert_eq!(kept.bytes(), 90);
        kept.put(5, 5, 25);
        assert_eq!((held([1, 2, 3, 4, 5]), kept.bytes()), ([false, true, false, false, true], 95));
        kept.remove(&2);
        assert_eq!(kept.bytes(), 25);
        kept.put(1, 1, 1_000);
        assert_eq!((held([1, 2, 3, 4, 5]), kept.bytes()), ([true, false, false, false, false], 1_000));
    }
}
