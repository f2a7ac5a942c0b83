//! What the worker writes: the whole state is a function of the number of its last step, so any loss or mixture shows.

use std::collections::BTreeMap;

use super::Dice;
use crate::{Batch, INLINE_BYTES_MAX, Result, StateStore};

pub(super) const LAST: &[u8] = b"last";
/// A step's own rows are deleted this many steps later.
const WINDOW: u64 = 12;
/// Rows that each step rewrites one of.
const SLOTS: u64 = 16;

/// The rows that stand after step `last`.
pub(super) fn state(last: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    if last == 0 {
        return rows;
    }
    rows.insert(LAST.to_vec(), last.to_string().into_bytes());
    for step in last.saturating_sub(WINDOW - 1).max(1)..=last {
        rows.extend(own_rows(step));
    }
    for step in last.saturating_sub(SLOTS - 1).max(1)..=last {
        rows.insert(slot_key(step), slot_value(step));
    }
    rows
}

/// Goes from step `step - 1` to `step`; of the large values, some are written ahead of the batch.
pub(super) fn commit(store: &dyn StateStore, step: u64) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(LAST, step.to_string());
    if step > WINDOW {
        for (key, _) in own_rows(step - WINDOW) {
            batch.delete(key);
        }
    }
    for (row, (key, value)) in own_rows(step).into_iter().enumerate() {
        let ahead = value.len() > INLINE_BYTES_MAX && row % 3 != 1;
        if ahead {
            batch.put_staged(key, store.stage(&value)?)
        } else {
            batch.put(key, value)
        };
    }
    let (slot, value) = (slot_key(step), slot_value(step));
    if step.is_multiple_of(8) {
        batch.put_staged(slot, store.stage(&value)?)
    } else {
        batch.put(slot, value)
    };
    store.commit(&batch)
}

/// The last step that a store holds, after comparing every row with what that step leaves.
pub(super) fn check(store: &dyn StateStore, what: &str) -> u64 {
    store.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = store.get(LAST).unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = last.map_or(0, |last| String::from_utf8(last).unwrap().parse().unwrap());
    let mut found = BTreeMap::new();
    let exported = store.export(&mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        Ok(())
    });
    exported.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found == state(last), "{what}: rows are not those of step {last}");
    last
}

/// Mostly one small row; now and then a large value, many rows, or many large values (another way to the disk).
fn own_rows(step: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut dice = Dice::new(step);
    let (count, length_min, length_max) = match step % 20 {
        7 => (300, 0, 600),
        13 => (60, 4500, 6000),
        3 | 11 | 17 => (1, 0, 60_000),
        _ => (1, 0, 600),
    };
    (0..count)
        .map(|row| {
            let length = (length_min + dice.below(length_max - length_min)) as usize;
            (format!("own/{step:08}/{row:04}").into_bytes(), dice.bytes(length))
        })
        .collect()
}

fn slot_key(step: u64) -> Vec<u8> {
    format!("slot/{:02}", step % SLOTS).into_bytes()
}

fn slot_value(step: u64) -> Vec<u8> {
    // Some slots hold the same large value again and again, so that files have several references.
    if step.is_multiple_of(4) { vec![b'x'; 5000 + (step / 64) as usize] } else { Dice::new(step ^ 0xFFFF).bytes(300) }
}
