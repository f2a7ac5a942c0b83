//! A commit: files first, then the rows, then the head, each durable before the next.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
};

use super::{SledStore, State};
use crate::{
    Error, Result, files,
    generation::{SUM_KEY, copy_rows, generation_dir, remove_other_generations},
    head::Sum,
    ledger::Ledger,
    pending,
    row::Value,
    rows::{Change, Outcome, panic_message},
};

/// Rows are moved to a fresh generation when so many times the bytes of the rows alive were written.
const GENERATION_FACTOR: u64 = 8;

impl SledStore {
    /// As [`SledStore::commit_internal`]; a panic makes the store fail too.
    pub(super) fn commit_guarded(
        &self,
        ledger: &mut Ledger,
        changes: &[(Vec<u8>, Option<&[u8]>)],
        floor_bytes: u64,
    ) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.commit_internal(ledger, changes, floor_bytes)))
            .unwrap_or_else(|panic| Err(self.fail(format!("panic: {}", panic_message(panic.as_ref())))))
    }

    /// Commits rows under internal keys. Whatever fails after the first byte was written makes the store fail.
    fn commit_internal(
        &self,
        ledger: &mut Ledger,
        changes: &[(Vec<u8>, Option<&[u8]>)],
        floor_bytes: u64,
    ) -> Result<()> {
        let size_bytes: usize = changes.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        self.rows(&self.read()).map(drop)?;
        // Thrice the size: it may be written down first, a generation may be moved, and sled keeps what is superseded
        // for a while.
        let wanted_bytes = 3 * size_bytes as u64 + ledger.live_bytes + (1 << 20);
        files::check_space(&self.dir, floor_bytes, wanted_bytes)?;

        let values: Vec<Option<Value>> = changes.iter().map(|(_, value)| value.map(Value::of)).collect();
        self.write_blobs(ledger, changes, &values)?;
        let mut plan = {
            let state = self.read();
            ledger.plan(self.rows(&state)?, changes, &values).map_err(|reason| self.corrupt(reason))?
        };
        if plan.changes.is_empty() {
            return Ok(());
        }
        let sum = plan.sum;
        let changes = std::mem::take(&mut plan.changes);
        let in_portions = changes.len() > self.tuning.direct_rows_max;
        if in_portions {
            pending::write(&self.dir, &changes, &sum)
                .map_err(|error| self.write_error("a large batch", size_bytes as u64, error))?;
        }
        self.write_rows(ledger, changes, sum, in_portions).map_err(|reason| self.fail(reason))?;
        ledger.accept(plan);
        if ledger.generation_bytes > self.tuning.generation_bytes_min
            && ledger.generation_bytes > GENERATION_FACTOR * ledger.live_bytes
        {
            self.move_generation(ledger, sum).map_err(|reason| self.fail(reason))?;
        }
        Ok(())
    }

    fn write_blobs(
        &self,
        ledger: &Ledger,
        changes: &[(Vec<u8>, Option<&[u8]>)],
        values: &[Option<Value>],
    ) -> Result<()> {
        let mut absent = BTreeMap::new();
        for ((_, bytes), value) in changes.iter().zip(values) {
            if let (Some(bytes), Some(Value::Blob(digest))) = (bytes, value)
                && !ledger.blobs.holds(digest)
            {
                absent.insert(*digest, *bytes);
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        let wanted_bytes = absent.values().map(|bytes| bytes.len() as u64).sum();
        ledger.blobs.write(&absent).map_err(|error| self.write_error("a large value", wanted_bytes, error))
    }

    /// Of what was to be written before the rows.
    fn write_error(&self, what: &str, wanted_bytes: u64, error: io::Error) -> Error {
        let no_space = files::no_space(&error, &self.dir, self.free_bytes_min, wanted_bytes);
        no_space.unwrap_or_else(|| self.fail(format!("can't write {what}: {error}")))
    }

    /// The barrier: rows, then the head. Readers wait, so that nobody sees what is not durable.
    fn write_rows(&self, ledger: &mut Ledger, mut changes: Vec<Change>, sum: Sum, in_portions: bool) -> Outcome<()> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(rows) = &*state else { return Err("store was closed".to_owned()) };
        if in_portions {
            files::sync_dir(&self.dir).map_err(|e| e.to_string())?;
            pending::apply(rows, changes, &sum)?;
        } else {
            changes.push((SUM_KEY.to_vec(), Some(sum.encode().to_vec())));
            rows.commit(changes)?;
        }
        let generation = ledger.head.entry().generation;
        ledger.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))?;
        if in_portions { pending::remove(&self.dir).map_err(|e| e.to_string()) } else { Ok(()) }
    }

    /// Copies the rows alive into a fresh database, and makes that one count: sled gives back neither memory nor disk
    /// under rewriting.
    fn move_generation(&self, ledger: &mut Ledger, sum: Sum) -> Outcome<()> {
        let generation = ledger.head.entry().generation + 1;
        let target = generation_dir(&self.dir, generation);
        let fresh = match &*self.read() {
            State::Open(old) => copy_rows(old, &target)?,
            _ => return Err("store was closed".to_owned()),
        };
        files::sync_dir(&self.dir).map_err(|e| e.to_string())?;
        // Twice, so that no slot of the head names the old generation any more.
        for _ in 0..2 {
            ledger.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))?;
        }
        ledger.generation_bytes = fresh.file_bytes();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *state, State::Open(fresh));
        drop(state);
        if let State::Open(rows) = old {
            rows.close()?;
        }
        remove_other_generations(&self.dir, &target).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{Batch, Options, StateStore as _, sled_store::user_key};

    const ROWS: usize = 3_000;

    fn open(dir: &Path) -> Result<SledStore> {
        SledStore::open(Options::new(dir, "test").free_bytes_min(0))
    }

    /// Writes a batch down, and dies when a part of it is applied. Answers the file that was left.
    fn dies_between_portions(dir: &Path) -> Vec<u8> {
        let store = open(dir).unwrap();
        store.commit(Batch::new().put("a", "old").put("b", "stays").put("key 0001", "old")).unwrap();
        let mut batch = Batch::new();
        batch.delete("a");
        for row in 0..ROWS {
            batch.put(format!("key {row:04}"), row.to_string());
        }
        let changes: Vec<_> = batch.changes().map(|(key, value)| (user_key(key), value)).collect();
        let values: Vec<_> = changes.iter().map(|(_, value)| value.map(Value::of)).collect();
        let (ledger, state) = (store.lock_ledger(), store.read());
        let rows = store.rows(&state).unwrap();
        let mut plan = ledger.plan(rows, &changes, &values).unwrap();
        pending::write(dir, &plan.changes, &plan.sum).unwrap();
        plan.changes.truncate(1_500);
        rows.commit(plan.changes).unwrap();
        fs::read(dir.join("pending")).unwrap()
    }

    #[test]
    fn a_large_batch_cut_short_is_applied_as_a_whole_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let left = dies_between_portions(dir.path());
        let store = open(dir.path()).unwrap();
        let applied = store.keys(b"key ", None, usize::MAX).unwrap().len();
        assert_eq!(
            (applied, store.get(b"a").unwrap(), store.get(b"b").unwrap()),
            (ROWS, None, Some(b"stays".to_vec()))
        );
        store.commit(Batch::new().put("key 0001", "new")).unwrap();
        store.close().unwrap();

        // That it was deleted is lost with the power.
        fs::write(dir.path().join("pending"), left).unwrap();
        let store = open(dir.path()).unwrap();
        assert_eq!(store.get(b"key 0001").unwrap(), Some(b"new".to_vec()));
        assert!(!dir.path().join("pending").exists());
        store.verify().unwrap();
    }

    fn remove(path: &Path) {
        fs::remove_file(path).unwrap();
    }

    fn flip(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        bytes[100] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_large_batch_that_is_damaged_or_gone_is_noticed() {
        type Damage = fn(&Path);
        for (damage, told) in [(remove as Damage, "rows were written"), (flip, "pending is damaged")] {
            let dir = tempfile::tempdir().unwrap();
            let left = dies_between_portions(dir.path());
            let pending = dir.path().join("pending");
            damage(&pending);
            let refused = open(dir.path());
            assert!(
                matches!(&refused, Err(error @ Error::Corrupt { .. }) if error.to_string().contains(told)),
                "{refused:?}"
            );
            // Nothing was done meanwhile that keeps the whole one from being applied.
            fs::write(&pending, left).unwrap();
            let store = open(dir.path()).unwrap();
            assert_eq!(store.keys(b"key ", None, usize::MAX).unwrap().len(), ROWS);
        }
    }
}
