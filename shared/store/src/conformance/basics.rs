//! Reading, writing, order, ownership: against a map in memory.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{Dice, Suite};
use crate::{BATCH_ROWS_MAX, Batch, Error, INLINE_BYTES_MAX, KEY_BYTES_MAX, StateStore};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl Suite<'_> {
    pub(super) fn basics(&self) {
        self.follows_a_map();
        self.has_one_owner();
        self.refuses_what_is_too_large();
        self.belongs_to_one_repository();
        self.shows_whole_batches_only();
    }

    /// Random batches over few keys; reopened now and then.
    fn follows_a_map(&self) {
        let dir = self.scratch.join("map");
        let mut dice = Dice::new(4);
        let mut rows = Rows::new();
        let mut store = (self.open)(&dir).unwrap();
        for round in 0..150 {
            let mut batch = Batch::new();
            for _ in 0..dice.below(12) {
                let key = random_key(&mut dice);
                if dice.below(3) == 0 {
                    batch.delete(key.clone());
                    rows.remove(&key);
                } else {
                    let value = random_value(&mut dice);
                    match dice.below(3) {
                        0 => batch.put_staged(key.clone(), store.stage(&value).unwrap()),
                        _ => batch.put(key.clone(), value.clone()),
                    };
                    rows.insert(key, value);
                }
            }
            store.commit(&batch).unwrap();
            if round % 25 == 24 {
                store.close().unwrap();
                assert!(matches!(store.get(b"a"), Err(Error::Closed { .. })));
                assert!(matches!(store.commit(&Batch::new()), Err(Error::Closed { .. })));
                store = (self.open)(&dir).unwrap();
            }
            reads_as(store.as_ref(), &rows, &mut dice);
        }
        let size_bytes = rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        let verified = store.verify().unwrap();
        assert_eq!((verified.rows, verified.size_bytes), (rows.len() as u64, size_bytes));
    }

    fn has_one_owner(&self) {
        let dir = self.scratch.join("owner");
        let first = (self.open)(&dir).unwrap();
        let second = (self.open)(&dir).map(drop).unwrap_err();
        assert!(matches!(second, Error::InUse { .. }), "{second}");
        assert!(second.to_string().contains("another process"), "{second}");
        drop(first);
        (self.open)(&dir).unwrap();
    }

    fn refuses_what_is_too_large(&self) {
        let store = (self.open)(&self.scratch.join("limits")).unwrap();
        let mut at_bound = Batch::new();
        at_bound.put(vec![b'k'; KEY_BYTES_MAX], "at the bound");
        store.commit(&at_bound).unwrap();
        let mut long_key = Batch::new();
        long_key.put(vec![b'k'; KEY_BYTES_MAX + 1], "beyond").put("other", "value");
        let mut many = Batch::new();
        for row in 0..=BATCH_ROWS_MAX {
            many.put(row.to_be_bytes(), []);
        }
        for batch in [long_key, many] {
            let error = store.commit(&batch).unwrap_err();
            assert!(matches!(error, Error::Limit { .. }), "{error}");
        }
        assert_eq!(store.scan(b"", None, 10).unwrap(), [(vec![b'k'; KEY_BYTES_MAX], b"at the bound".to_vec())]);
    }

    fn belongs_to_one_repository(&self) {
        let dir = self.scratch.join("repository");
        let store = (self.open)(&dir).unwrap();
        assert_eq!(store.repository().unwrap(), None);
        store.bind_repository([7; 32]).unwrap();
        store.bind_repository([7; 32]).unwrap();
        drop(store);
        let store = (self.open)(&dir).unwrap();
        assert_eq!(store.repository().unwrap(), Some([7; 32]));
        assert!(matches!(store.bind_repository([8; 32]), Err(Error::OtherRepository { .. })));
        assert_eq!(store.repository().unwrap(), Some([7; 32]));
        assert!(store.keys(b"", None, 10).unwrap().is_empty(), "the binding is no row of the caller's");
    }

    /// Readers beside a writer see the rows of one batch, all of them.
    fn shows_whole_batches_only(&self) {
        let store = (self.open)(&self.scratch.join("readers")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut scans = 0;
                while !done.load(Ordering::Relaxed) || scans == 0 {
                    let rows = store.scan(b"same/", None, 100).unwrap();
                    assert!(rows.len() == 20 || rows.is_empty(), "{} rows", rows.len());
                    assert!(rows.windows(2).all(|pair| pair[0].1 == pair[1].1), "two batches in one scan");
                    scans += 1;
                }
            });
            for round in 0..60_u32 {
                let mut batch = Batch::new();
                let value = vec![round as u8; if round % 2 == 0 { 100 } else { INLINE_BYTES_MAX + 1 }];
                for row in 0..20 {
                    batch.put(format!("same/{row:02}"), value.clone());
                }
                store.commit(&batch).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}

fn random_key(dice: &mut Dice) -> Vec<u8> {
    let length = 1 + dice.below(3) as usize;
    (0..length).map(|_| [0, b'a', b'b', 255][dice.below(4) as usize]).collect()
}

fn random_value(dice: &mut Dice) -> Vec<u8> {
    let length = match dice.below(8) {
        0 => 0,
        1 => INLINE_BYTES_MAX,
        2 => INLINE_BYTES_MAX + 1,
        3 => 20_000,
        _ => dice.below(500) as usize,
    };
    dice.bytes(length)
}

fn reads_as(store: &dyn StateStore, rows: &Rows, dice: &mut Dice) {
    let key = random_key(dice);
    assert_eq!(store.get(&key).unwrap().as_ref(), rows.get(&key));
    let (prefix, after) = (random_key(dice), random_key(dice));
    for (prefix, after) in [(&prefix[..1], Some(after.as_slice())), (&prefix[..], None), (b"", Some(&after))] {
        let limit = 1 + dice.below(10) as usize;
        let follows = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let expected: Vec<_> = rows.iter().filter(|(key, _)| follows(key)).take(limit).collect();
        let found = store.scan(prefix, after, limit).unwrap();
        assert_eq!(found.iter().map(|(key, value)| (key, value)).collect::<Vec<_>>(), expected);
        let keys = store.keys(prefix, after, limit).unwrap();
        assert_eq!(keys.iter().collect::<Vec<_>>(), expected.iter().map(|(key, _)| *key).collect::<Vec<_>>());
    }
}
