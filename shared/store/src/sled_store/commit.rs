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
    row::Value,
    rows::{Change, Outcome, panic_message},
};

/// Rows are moved to a fresh generation when so many times the bytes of the rows alive were written.
const GENERATION_FACTOR: u64 = 8;

impl SledStore {
    /// As [`SledStore::commit_internal`]; a panic makes the store fail too.
    pub(super) fn commit_guarded(&self, ledger: &mut Ledger, changes: &[(Vec<u8>, Option<&[u8]>)]) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.commit_internal(ledger, changes)))
            .unwrap_or_else(|panic| Err(self.fail(format!("panic: {}", panic_message(panic.as_ref())))))
    }

    /// Commits rows under internal keys. Whatever fails after the first byte was written makes the store fail.
    fn commit_internal(&self, ledger: &mut Ledger, changes: &[(Vec<u8>, Option<&[u8]>)]) -> Result<()> {
        let size_bytes: usize = changes.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        self.rows(&self.read()).map(drop)?;
        // Twice the size: a generation may be moved, and sled keeps what is superseded for a while.
        let wanted_bytes = 2 * size_bytes as u64 + ledger.live_bytes + (1 << 20);
        files::check_space(&self.dir, self.free_bytes_min, wanted_bytes)?;

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
        let mut changes = std::mem::take(&mut plan.changes);
        changes.push((SUM_KEY.to_vec(), Some(sum.encode().to_vec())));
        if changes.len() > self.tuning.direct_rows_max {
            changes.sort_unstable();
            self.move_generation(ledger, changes, sum).map_err(|reason| self.fail(reason))?;
            ledger.accept(plan);
            return Ok(());
        }
        self.write_rows(ledger, changes, sum).map_err(|reason| self.fail(reason))?;
        ledger.accept(plan);
        if ledger.generation_bytes > self.tuning.generation_bytes_min
            && ledger.generation_bytes > GENERATION_FACTOR * ledger.live_bytes
        {
            self.move_generation(ledger, Vec::new(), sum).map_err(|reason| self.fail(reason))?;
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
        ledger.blobs.write(&absent).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Error::NoSpace {
                dir: self.dir.clone(),
                free_bytes: files::free_bytes(&self.dir).unwrap_or(0),
                wanted_bytes: absent.values().map(|bytes| bytes.len() as u64).sum(),
                floor_bytes: self.free_bytes_min,
            },
            _ => self.fail(format!("can't write a large value: {error}")),
        })
    }

    /// The barrier: rows, then the head. Readers wait, so that nobody sees what is not durable.
    fn write_rows(&self, ledger: &mut Ledger, changes: Vec<Change>, sum: Sum) -> Outcome<()> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(rows) = &*state else { return Err("store was closed".to_owned()) };
        rows.commit(changes)?;
        let generation = ledger.head.entry().generation;
        ledger.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))
    }

    /// Copies the rows alive into a fresh database, with `changes` applied, and makes that one count. sled gives back
    /// neither memory nor disk under rewriting, and a large batch takes less memory on this way.
    fn move_generation(&self, ledger: &mut Ledger, changes: Vec<Change>, sum: Sum) -> Outcome<()> {
        let generation = ledger.head.entry().generation + 1;
        let target = generation_dir(&self.dir, generation);
        let fresh = match &*self.read() {
            State::Open(old) => copy_rows(old, changes, &target)?,
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
