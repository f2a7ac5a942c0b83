//! A commit: into the log, which makes it durable with one fsync, and then over the rows. What is in the log is moved
//! down to the rows when that is full; what is too large for it goes there at once. There files come first, then the
//! rows, then the head, each durable before the next.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::PoisonError,
};

use super::{SledStore, State};
use crate::{
    Error, Result,
    batch::Put,
    blobs::Source,
    files,
    generation::{SUM_KEY, copy_rows, generation_dir, remove_other_generations},
    head::Sum,
    ledger::{Ledger, Plan, moving_bytes, row_bytes},
    pending, record,
    row::{BlobDigest, Value},
    rows::{Change, Outcome, panic_message},
    table::Table,
};

/// Rows are moved to a fresh generation when so many times the bytes of the rows alive were written.
const GENERATION_FACTOR: u64 = 8;
/// Rows that may be in front of the database.
const RECENT_ROWS_MAX: usize = 16 * 1024;

impl SledStore {
    /// As [`SledStore::commit_internal`]; a panic makes the store fail too.
    pub(super) fn commit_guarded(
        &self,
        ledger: &mut Ledger,
        changes: &[(Vec<u8>, Option<&Put>)],
        floor_bytes: u64,
    ) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.commit_internal(ledger, changes, floor_bytes)))
            .unwrap_or_else(|panic| Err(self.fail(format!("panic: {}", panic_message(panic.as_ref())))))
    }

    /// Commits rows under internal keys. Whatever fails after the first byte was written makes the store fail.
    fn commit_internal(
        &self,
        ledger: &mut Ledger,
        changes: &[(Vec<u8>, Option<&Put>)],
        floor_bytes: u64,
    ) -> Result<()> {
        let size_bytes: usize = changes.iter().map(|(key, value)| key.len() + value.map_or(0, Put::memory_bytes)).sum();
        self.table(&self.read()).map(drop)?;
        let wanted_bytes = moving_bytes(size_bytes as u64 + ledger.log.used_bytes(), ledger.live_bytes);
        files::check_space(&self.dir, floor_bytes, wanted_bytes)?;

        let values: Vec<Option<Value>> = changes.iter().map(|(_, value)| value.map(Value::of)).collect();
        let plan = {
            let state = self.read();
            ledger.plan(self.table(&state)?, changes, &values).map_err(|reason| self.corrupt(reason))?
        };
        if plan.changes.is_empty() {
            return Ok(());
        }
        let (large, mut files) = absent(ledger, changes, &values);
        if self.fits_log(&large, &plan) {
            self.write_blobs(ledger, &files)?;
            return self.write_log(ledger, plan, large).map_err(|reason| self.fail(reason));
        }
        files.extend(large.into_iter().map(|(digest, bytes)| (digest, Source::Value(bytes))));
        self.write_blobs(ledger, &files)?;
        if self.fits_log(&BTreeMap::new(), &plan) {
            return self.write_log(ledger, plan, BTreeMap::new()).map_err(|reason| self.fail(reason));
        }
        self.move_down(ledger).map_err(|reason| self.fail(reason))?;
        let in_portions = plan.changes.len() > self.tuning.direct_rows_max;
        if in_portions {
            pending::write(&self.dir, &plan.changes, &plan.sum)
                .map_err(|error| self.write_error("a large batch", size_bytes as u64, error))?;
        }
        self.write_rows(ledger, plan, in_portions).map_err(|reason| self.fail(reason))
    }

    fn fits_log(&self, large: &BTreeMap<BlobDigest, &[u8]>, plan: &Plan) -> bool {
        record::size_bytes(large.values().copied(), &plan.changes) <= self.tuning.record_bytes_max
    }

    fn write_blobs(&self, ledger: &Ledger, values: &BTreeMap<BlobDigest, Source<'_>>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let wanted_bytes = values.values().map(|source| source.memory_bytes()).sum();
        ledger.blobs.write(values).map_err(|error| self.write_error("a large value", wanted_bytes, error))
    }

    /// Of what was to be written before the rows.
    pub(super) fn write_error(&self, what: &str, wanted_bytes: u64, error: io::Error) -> Error {
        let no_space = files::no_space(&error, &self.dir, self.free_bytes_min, wanted_bytes);
        no_space.unwrap_or_else(|| self.fail(format!("can't write {what}: {error}")))
    }

    /// The barrier of a commit that fits the log. Nobody sees it before it is durable.
    fn write_log(&self, ledger: &mut Ledger, mut plan: Plan, large: BTreeMap<BlobDigest, &[u8]>) -> Outcome<()> {
        let values = || large.values().copied();
        let recent_rows = self.opened(&self.read())?.recent_len() + plan.changes.len();
        if !ledger.log.has_room_for(record::size_bytes(values(), &plan.changes)) || recent_rows > RECENT_ROWS_MAX {
            self.move_down(ledger)?;
        }
        let written = ledger.log.append(&plan.sum, values(), &plan.changes);
        written.map_err(|e| format!("can't write the log: {e}"))?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(table) = &mut *state else { return Err("store was closed".to_owned()) };
        let large = large.into_iter().map(|(digest, bytes)| (digest, bytes.to_vec()));
        table.put(std::mem::take(&mut plan.changes), large)?;
        let mut unused = ledger.accept(plan);
        unused.retain(|digest| !table.forget(digest));
        drop(state);
        unused.iter().for_each(|digest| ledger.blobs.delete(digest));
        Ok(())
    }

    /// The barrier of a commit that does not fit the log, which is empty: rows, then the head. Readers wait, so that
    /// nobody sees what is not durable.
    fn write_rows(&self, ledger: &mut Ledger, mut plan: Plan, in_portions: bool) -> Outcome<()> {
        let (mut changes, sum) = (std::mem::take(&mut plan.changes), plan.sum);
        ledger.generation_bytes += written_bytes(&changes);
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(Table { rows, .. }) = &*state else { return Err("store was closed".to_owned()) };
        if in_portions {
            files::sync_dir(&self.dir).map_err(|e| e.to_string())?;
            pending::apply(rows, changes, &sum)?;
        } else {
            changes.push((SUM_KEY.to_vec(), Some(sum.encode().to_vec())));
            rows.commit(changes)?;
        }
        ledger.advance_head(sum)?;
        drop(state);
        if in_portions {
            pending::remove(&self.dir).map_err(|e| e.to_string())?;
        }
        let unused = ledger.accept(plan);
        unused.iter().for_each(|digest| ledger.blobs.delete(digest));
        self.renew_generation(ledger, sum)
    }

    /// At the end: what stays in the log is found there by the next start. On a full disk sled would be damaged.
    pub(super) fn move_down_at_close(&self, ledger: &mut Ledger) -> Outcome<()> {
        let wanted_bytes = moving_bytes(ledger.log.used_bytes(), ledger.live_bytes);
        match files::check_space(&self.dir, 0, wanted_bytes) {
            Ok(()) => self.move_down(ledger),
            Err(_) => Ok(()),
        }
    }

    /// Moves what is in the log down to the rows. Nothing changes for readers, who need not wait for it.
    pub(super) fn move_down(&self, ledger: &mut Ledger) -> Outcome<()> {
        if ledger.log.used_bytes() == 0 {
            return Ok(());
        }
        let state = self.read();
        let table = self.opened(&state)?;
        ledger
            .blobs
            .write(&table.values().into_iter().map(|(digest, bytes)| (digest, Source::Value(bytes))).collect())
            .map_err(|e| format!("can't write large values: {e}"))?;
        let (changes, sum) = (table.recent(), ledger.sum);
        ledger.generation_bytes += written_bytes(&changes);
        pending::apply(&table.rows, changes, &sum)?;
        ledger.settle_head(sum)?;
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(table) = &mut *state else { return Err("store was closed".to_owned()) };
        table.moved_down();
        drop(state);
        ledger.log.restart();
        self.renew_generation(ledger, sum)
    }

    /// Copies the rows alive into a fresh database, and makes that one count, when much was written: sled gives back
    /// neither memory nor disk under rewriting. Nothing is in the log.
    fn renew_generation(&self, ledger: &mut Ledger, sum: Sum) -> Outcome<()> {
        if ledger.generation_bytes <= self.tuning.generation_bytes_min
            || ledger.generation_bytes <= GENERATION_FACTOR * ledger.live_bytes
        {
            return Ok(());
        }
        let generation = ledger.head.entry().generation + 1;
        let target = generation_dir(&self.dir, generation);
        let fresh = copy_rows(&self.opened(&self.read())?.rows, &target)?;
        files::sync_dir(&self.dir).map_err(|e| e.to_string())?;
        // Twice, so that no slot of the head names the old generation any more.
        for _ in 0..2 {
            ledger.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))?;
        }
        ledger.generation_bytes = fresh.file_bytes();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *state, State::Open(Table::new(fresh)));
        drop(state);
        if let State::Open(old) = old {
            old.rows.close()?;
        }
        remove_other_generations(&self.dir, &target).map_err(|e| e.to_string())
    }

    /// The open table, for who holds the ledger and must find one.
    fn opened<'a>(&self, state: &'a State) -> Outcome<&'a Table> {
        self.table(state).map_err(|error| error.to_string())
    }
}

/// Large values of a batch that are not there yet: those in memory, and those that are files already.
fn absent<'a>(
    ledger: &Ledger,
    changes: &[(Vec<u8>, Option<&'a Put>)],
    values: &[Option<Value>],
) -> (BTreeMap<BlobDigest, &'a [u8]>, BTreeMap<BlobDigest, Source<'a>>) {
    let (mut large, mut files) = (BTreeMap::new(), BTreeMap::new());
    for ((_, put), value) in changes.iter().zip(values) {
        if let (Some(put), Some(Value::Blob(digest))) = (put, value)
            && !ledger.blobs.holds(digest)
        {
            match put {
                Put::Value(bytes) => drop(large.insert(*digest, bytes.as_slice())),
                Put::Staged(staged) => drop(files.insert(*digest, Source::Staged(staged))),
            }
        }
    }
    large.retain(|digest, _| !files.contains_key(digest));
    (large, files)
}

fn written_bytes(changes: &[Change]) -> u64 {
    changes.iter().map(|(key, row)| row_bytes(key, row.as_deref().unwrap_or_default())).sum()
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
        let table = store.table(&state).unwrap();
        let mut plan = ledger.plan(table, &changes, &values).unwrap();
        pending::write(dir, &plan.changes, &plan.sum).unwrap();
        plan.changes.truncate(1_500);
        table.rows.commit(plan.changes).unwrap();
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
