//! The default backend: rows in sled, large values in files, and a head file that both must agree with.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::blobs::{self, Blobs};
use crate::generation::{SUM_KEY, copy_rows, create_state, generation_dir, remove_other_generations};
use crate::head::{Head, Sum};
use crate::row::{Value, share};
use crate::rows::{Change, Outcome, Rows, panic_message};
use crate::writer::{Writer, damaged};
use crate::{Batch, Error, Options, Result, Row, Sink, StateStore, Verified, files, layout};

/// Callers' keys stand behind this byte.
const USER: u8 = b'u';
/// The row that holds the repository's identity.
const REPOSITORY_KEY: &[u8] = b"irepository";

/// Rows are moved to a fresh generation when so many times the bytes of the rows alive were written.
const GENERATION_FACTOR: u64 = 8;

/// When rows are moved to a fresh generation.
#[derive(Debug, Clone, Copy)]
struct Tuning {
    /// Not before so many bytes were written since the last move.
    generation_bytes_min: u64,
    /// A batch of more rows is not applied to the rows that stand, but to a fresh generation: sled would keep some KiB of memory
    /// for each row until the batch is done.
    direct_rows_max: usize,
}

/// State in one directory, kept by sled and content-addressed files.
#[derive(Debug)]
pub struct SledStore {
    dir: PathBuf,
    free_bytes_min: u64,
    tuning: Tuning,
    writer: Mutex<Writer>,
    state: RwLock<State>,
}

/// Readers hold it shared, a commit exclusively until it is durable.
#[derive(Debug)]
enum State {
    Open(Rows),
    Failed(String),
    Closed,
}

impl SledStore {
    /// Opens the state directory, creating it if it is absent, and checks every row.
    ///
    /// # Errors
    /// `InUse`, `NewerFormat`, `OtherKind`, `Corrupt`, `NoSpace`, `Io`.
    pub fn open(options: Options) -> Result<SledStore> {
        SledStore::open_tuned(options, Tuning { generation_bytes_min: 32 << 20, direct_rows_max: 4096 })
    }

    /// As [`SledStore::open`], but the rows are moved to a fresh generation by small batches already, so that tests see it often.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    #[cfg(feature = "testing")]
    pub fn open_restless(options: Options) -> Result<SledStore> {
        SledStore::open_tuned(options, Tuning { generation_bytes_min: 64 << 10, direct_rows_max: 100 })
    }

    fn open_tuned(options: Options, tuning: Tuning) -> Result<SledStore> {
        files::create_private_dir(&options.dir)?;
        let lock = layout::lock(&options.dir)?;
        let dir = options.dir.clone();
        files::check_space(&dir, options.free_bytes_min, 0)?;
        layout::check_format(&options)?;
        let head = match Head::open(&dir.join("head"))? {
            Some(head) => head,
            None => create_state(&dir)?,
        };
        let generation = generation_dir(&dir, head.entry().generation);
        if !generation.join("db").is_file() {
            return Err(Error::corrupt(&dir, format!("{} is missing", generation.join("db").display())));
        }
        remove_other_generations(&dir, &generation)?;
        let rows = Rows::open(&generation).map_err(|e| e.of(&dir, &generation))?;
        let mut writer = Writer {
            head,
            blobs: Blobs::open(dir.join("blobs"))?,
            live_bytes: 0,
            generation_bytes: rows.file_bytes(),
            lock: Some(lock),
        };
        writer.load(&dir, &rows)?;
        Ok(SledStore {
            dir,
            free_bytes_min: options.free_bytes_min,
            tuning,
            writer: Mutex::new(writer),
            state: RwLock::new(State::Open(rows)),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open database, or why there is none.
    fn rows<'a>(&self, state: &'a State) -> Result<&'a Rows> {
        match state {
            State::Open(rows) => Ok(rows),
            State::Failed(reason) => Err(Error::Failed { dir: self.dir.clone(), reason: reason.clone() }),
            State::Closed => Err(Error::Closed { dir: self.dir.clone() }),
        }
    }

    /// Ends the use of the database after a failure. sled is left as it is: to free it could write, or hang.
    fn fail(&self, reason: impl Into<String>) -> Error {
        let reason = reason.into();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(_) = *state {
            std::mem::forget(std::mem::replace(&mut *state, State::Failed(reason.clone())));
        }
        Error::Failed { dir: self.dir.clone(), reason }
    }

    fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(&self.dir, reason)
    }

    /// The value that a row stands for.
    fn value(&self, key: &[u8], row: &[u8]) -> Result<Vec<u8>> {
        match Value::decode(key, row).ok_or_else(|| self.corrupt(damaged(key)))? {
            Value::Inline(bytes) => Ok(bytes),
            Value::Blob(digest) => blobs::read(&self.dir.join("blobs"), &digest).map_err(|reason| self.corrupt(reason)),
        }
    }

    fn get_internal(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let state = self.read();
        let row = self.rows(&state)?.get(key).map_err(|reason| self.corrupt(reason))?;
        row.map(|row| self.value(key, &row)).transpose()
    }

    /// Visits callers' rows in order: key without the leading byte, key with it, and the row.
    fn visit(
        &self,
        state: &State,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let after = after.map(user_key);
        let visited =
            self.rows(state)?.visit(&user_key(prefix), after.as_deref(), |key, row| visit(&key[1..], key, row));
        visited.map_err(|reason| self.corrupt(reason))?
    }

    /// As [`SledStore::commit_internal`]; a panic makes the store fail too.
    fn commit_guarded(&self, writer: &mut Writer, changes: &[(Vec<u8>, Option<&[u8]>)]) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.commit_internal(writer, changes)))
            .unwrap_or_else(|panic| Err(self.fail(format!("panic: {}", panic_message(panic.as_ref())))))
    }

    /// Commits rows under internal keys. Whatever fails after the first byte was written makes the store fail.
    fn commit_internal(&self, writer: &mut Writer, changes: &[(Vec<u8>, Option<&[u8]>)]) -> Result<()> {
        let size_bytes: usize = changes.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        self.rows(&self.read()).map(drop)?;
        // Twice the size: a generation may be moved, and sled keeps what is superseded for a while.
        let wanted_bytes = 2 * size_bytes as u64 + writer.live_bytes + (1 << 20);
        files::check_space(&self.dir, self.free_bytes_min, wanted_bytes)?;

        let values: Vec<Option<Value>> = changes.iter().map(|(_, value)| value.map(Value::of)).collect();
        self.write_blobs(writer, changes, &values)?;
        let mut plan = {
            let state = self.read();
            writer.plan(self.rows(&state)?, changes, &values).map_err(|reason| self.corrupt(reason))?
        };
        if plan.changes.is_empty() {
            return Ok(());
        }
        let sum = plan.sum;
        let mut changes = std::mem::take(&mut plan.changes);
        changes.push((SUM_KEY.to_vec(), Some(sum.encode().to_vec())));
        if changes.len() > self.tuning.direct_rows_max {
            changes.sort_unstable();
            self.move_generation(writer, changes, sum).map_err(|reason| self.fail(reason))?;
            writer.accept(plan);
            return Ok(());
        }
        self.write_rows(writer, changes, sum).map_err(|reason| self.fail(reason))?;
        writer.accept(plan);
        if writer.generation_bytes > self.tuning.generation_bytes_min
            && writer.generation_bytes > GENERATION_FACTOR * writer.live_bytes
        {
            self.move_generation(writer, Vec::new(), sum).map_err(|reason| self.fail(reason))?;
        }
        Ok(())
    }

    fn write_blobs(
        &self,
        writer: &Writer,
        changes: &[(Vec<u8>, Option<&[u8]>)],
        values: &[Option<Value>],
    ) -> Result<()> {
        let mut absent = BTreeMap::new();
        for ((_, bytes), value) in changes.iter().zip(values) {
            if let (Some(bytes), Some(Value::Blob(digest))) = (bytes, value)
                && !writer.blobs.holds(digest)
            {
                absent.insert(*digest, *bytes);
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        writer.blobs.write(&absent).map_err(|error| match error.kind() {
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
    fn write_rows(&self, writer: &mut Writer, changes: Vec<Change>, sum: Sum) -> Outcome<()> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Open(rows) = &*state else { return Err("store was closed".to_owned()) };
        rows.commit(changes)?;
        let generation = writer.head.entry().generation;
        writer.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))
    }

    /// Copies the rows alive into a fresh database, with `changes` applied, and makes that one count. sled gives back neither
    /// memory nor disk under rewriting, and a large batch takes less memory on this way.
    fn move_generation(&self, writer: &mut Writer, changes: Vec<Change>, sum: Sum) -> Outcome<()> {
        let generation = writer.head.entry().generation + 1;
        let target = generation_dir(&self.dir, generation);
        let fresh = match &*self.read() {
            State::Open(old) => copy_rows(old, changes, &target)?,
            _ => return Err("store was closed".to_owned()),
        };
        files::sync_dir(&self.dir).map_err(|e| e.to_string())?;
        // Twice, so that no slot of the head names the old generation any more.
        for _ in 0..2 {
            writer.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))?;
        }
        writer.generation_bytes = fresh.file_bytes();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *state, State::Open(fresh));
        drop(state);
        if let State::Open(rows) = old {
            rows.close()?;
        }
        remove_other_generations(&self.dir, &target).map_err(|e| e.to_string())
    }
}

impl StateStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get_internal(&user_key(key))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        if limit == 0 {
            return Ok(rows);
        }
        self.visit(&self.read(), prefix, after, |key, internal_key, row| {
            rows.push((key.to_vec(), self.value(internal_key, row)?));
            Ok(rows.len() < limit)
        })?;
        Ok(rows)
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        if limit == 0 {
            return Ok(keys);
        }
        self.visit(&self.read(), prefix, after, |key, internal_key, row| {
            Value::decode(internal_key, row).ok_or_else(|| self.corrupt(damaged(internal_key)))?;
            keys.push(key.to_vec());
            Ok(keys.len() < limit)
        })?;
        Ok(keys)
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        batch.check()?;
        let changes: Vec<_> = batch.changes().map(|(key, value)| (user_key(key), value)).collect();
        self.commit_guarded(&mut self.lock_writer(), &changes)
    }

    fn repository(&self) -> Result<Option<[u8; 32]>> {
        let id = self.get_internal(REPOSITORY_KEY)?;
        id.map(|id| id.try_into().map_err(|_| self.corrupt("repository id is not 32 bytes"))).transpose()
    }

    fn bind_repository(&self, id: [u8; 32]) -> Result<()> {
        let mut writer = self.lock_writer();
        match self.repository()? {
            Some(bound) if bound == id => Ok(()),
            Some(bound) => Err(Error::OtherRepository {
                dir: self.dir.clone(),
                found: hex::encode(bound),
                wanted: hex::encode(id),
            }),
            None => self.commit_guarded(&mut writer, &[(REPOSITORY_KEY.to_vec(), Some(&id))]),
        }
    }

    fn verify(&self) -> Result<Verified> {
        // The writer is held too, so that the head stands still.
        let writer = self.lock_writer();
        let state = self.read();
        let mut seen = Sum { commit: writer.head.entry().sum.commit, ..Sum::default() };
        let mut verified = Verified::default();
        let visited = self.rows(&state)?.visit(b"", None, |key, row| {
            if key != SUM_KEY {
                seen.rows += 1;
                seen.checks = seen.checks.wrapping_add(share(row));
                let size_bytes = (key.len() - 1 + self.value(key, row)?.len()) as u64;
                if key[0] == USER {
                    verified.rows += 1;
                    verified.size_bytes += size_bytes;
                }
            }
            Ok(true)
        });
        visited.map_err(|reason| self.corrupt(reason))??;
        if seen != writer.head.entry().sum {
            return Err(self.corrupt("rows are missing, or older than what was acknowledged"));
        }
        Ok(verified)
    }

    fn export(&self, sink: &mut Sink<'_>) -> Result<()> {
        self.visit(&self.read(), b"", None, |key, internal_key, row| {
            sink(key, &self.value(internal_key, row)?)?;
            Ok(true)
        })
    }

    fn close(&self) -> Result<()> {
        let mut writer = self.lock_writer();
        let old = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if let State::Failed(_) = *state {
                return Ok(());
            }
            std::mem::replace(&mut *state, State::Closed)
        };
        let closed = if let State::Open(rows) = old { rows.close() } else { Ok(()) };
        writer.lock = None;
        closed.map_err(|reason| Error::Failed { dir: self.dir.clone(), reason })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "store not closed in order");
        }
    }
}

fn user_key(key: &[u8]) -> Vec<u8> {
    let mut internal = Vec::with_capacity(key.len() + 1);
    internal.push(USER);
    internal.extend_from_slice(key);
    internal
}
