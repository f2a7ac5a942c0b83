//! The default backend: rows in sled, large values in files, and a head file that both must agree with.

mod commit;
mod recover;

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

use crate::{
    Batch, Error, Options, Put, Result, Row, Sink, Staged, StateStore, Verified,
    blobs::{self, Blobs},
    files,
    generation::{SUM_KEY, create_state, generation_dir, remove_other_generations},
    head::{Head, Sum},
    layout,
    ledger::{Ledger, damaged, moving_bytes},
    log::Log,
    pending,
    record::Record,
    row::{self, Value, share},
    rows::Rows,
    table::Table,
};

/// Callers' keys stand behind this byte.
const USER: u8 = b'u';
/// The row that holds the repository's identity.
const REPOSITORY_KEY: &[u8] = b"irepository";

/// When rows are moved, and where to.
#[derive(Debug, Clone, Copy)]
struct Tuning {
    /// Length of the log.
    log_bytes: usize,
    /// A larger commit does not go into the log.
    record_bytes_max: usize,
    /// Not before so many bytes were written since the last move.
    generation_bytes_min: u64,
    /// A batch of more rows is written down first, and then applied in portions: sled would keep some KiB of memory for
    /// each row until the batch is done.
    direct_rows_max: usize,
}

/// State in one directory, kept by sled and content-addressed files.
#[derive(Debug)]
pub struct SledStore {
    dir: PathBuf,
    free_bytes_min: u64,
    tuning: Tuning,
    ledger: Mutex<Ledger>,
    state: RwLock<State>,
}

/// Readers hold it shared; a commit that stands in the log holds it exclusively while it is shown, one that goes to the
/// rows at once until it is durable there.
#[derive(Debug)]
enum State {
    Open(Table),
    Failed(String),
    Closed,
}

impl SledStore {
    /// Opens the state directory, creating it if it is absent, and checks every row.
    ///
    /// # Errors
    /// `InUse`, `NewerFormat`, `OtherKind`, `Corrupt`, `NoSpace`, `Io`.
    pub fn open(options: Options) -> Result<Self> {
        let tuning = Tuning {
            log_bytes: 8 << 20,
            record_bytes_max: 2 << 20,
            generation_bytes_min: 32 << 20,
            direct_rows_max: 4096,
        };
        Self::open_tuned(options, tuning)
    }

    /// As [`SledStore::open`], but rows are moved out of the log and to a fresh generation, and batches applied in
    /// portions, at sizes that tests often reach.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    #[cfg(feature = "testing")]
    pub fn open_restless(options: Options) -> Result<Self> {
        let tuning = Tuning {
            log_bytes: 128 << 10,
            record_bytes_max: 16 << 10,
            generation_bytes_min: 64 << 10,
            direct_rows_max: 100,
        };
        Self::open_tuned(options, tuning)
    }

    fn open_tuned(options: Options, tuning: Tuning) -> Result<Self> {
        files::create_private_dir(&options.dir)?;
        let lock = layout::lock(&options.dir)?;
        let dir = options.dir.clone();
        // sled writes while it opens, and is damaged where it can't.
        files::check_space(&dir, options.free_bytes_min, moving_bytes(0, 0))?;
        let format = layout::check_format(&options)?;
        let mut head = match Head::open(&dir.join("head"))? {
            Some(head) => head,
            None => create_state(&dir, tuning.log_bytes)?,
        };
        layout::upgrade(&options, format, || Log::create(&dir, tuning.log_bytes))?;
        let generation = generation_dir(&dir, head.entry().generation);
        if !generation.join("db").is_file() {
            return Err(Error::corrupt(&dir, format!("{} is missing", generation.join("db").display())));
        }
        remove_other_generations(&dir, &generation)?;
        let rows = Rows::open(&generation).map_err(|e| e.of(&dir, &generation))?;
        pending::recover(&dir, &rows, head.entry().sum.commit)?;
        let blobs = Blobs::open(blobs::folder(&dir))?;
        let (log, left) = Log::open(&dir, head.entry().sum.commit)?;
        if !left.is_empty() {
            files::check_space(&dir, 0, moving_bytes(left.iter().map(Record::size_bytes).sum(), 0))?;
            recover::move_down(&dir, left, &rows, &blobs, &mut head)?;
        }
        let mut ledger = Ledger {
            head,
            log,
            sum: Sum::default(),
            blobs,
            live_bytes: 0,
            generation_bytes: rows.file_bytes(),
            lock: Some(lock),
        };
        ledger.load(&dir, &rows)?;
        Ok(Self {
            dir,
            free_bytes_min: options.free_bytes_min,
            tuning,
            ledger: Mutex::new(ledger),
            state: RwLock::new(State::Open(Table::new(rows))),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is open, or why nothing is.
    fn table<'a>(&self, state: &'a State) -> Result<&'a Table> {
        match state {
            State::Open(table) => Ok(table),
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
    fn value(&self, table: &Table, key: &[u8], row: &[u8]) -> Result<Vec<u8>> {
        match Value::decode(key, row).ok_or_else(|| self.corrupt(damaged(key)))? {
            Value::Inline(bytes) => Ok(bytes),
            Value::Blob(digest) => match table.value(&digest) {
                Some(bytes) => Ok(bytes.to_vec()),
                None => blobs::read(&blobs::folder(&self.dir), &digest).map_err(|reason| self.corrupt(reason)),
            },
        }
    }

    fn get_internal(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let state = self.read();
        let table = self.table(&state)?;
        let row = table.get(key).map_err(|reason| self.corrupt(reason))?;
        row.map(|row| self.value(table, key, &row)).transpose()
    }

    /// Visits callers' rows in order, while `visit` answers true: key without the leading byte, key with it, and the
    /// row.
    fn visit(
        &self,
        table: &Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let after = after.map(user_key);
        let rows = table.range(&user_key(prefix), after.as_deref()).map_err(|reason| self.corrupt(reason))?;
        for row in rows {
            let (key, row) = row.map_err(|reason| self.corrupt(reason))?;
            if !visit(&key[1..], &key, &row)? {
                break;
            }
        }
        Ok(())
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
        let state = self.read();
        let table = self.table(&state)?;
        self.visit(table, prefix, after, |key, internal_key, row| {
            rows.push((key.to_vec(), self.value(table, internal_key, row)?));
            Ok(rows.len() < limit)
        })?;
        Ok(rows)
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        if limit == 0 {
            return Ok(keys);
        }
        let state = self.read();
        self.visit(self.table(&state)?, prefix, after, |key, internal_key, row| {
            Value::decode(internal_key, row).ok_or_else(|| self.corrupt(damaged(internal_key)))?;
            keys.push(key.to_vec());
            Ok(keys.len() < limit)
        })?;
        Ok(keys)
    }

    fn stage(&self, value: &[u8]) -> Result<Staged> {
        self.table(&self.read()).map(drop)?;
        files::check_space(&self.dir, self.free_bytes_min, value.len() as u64)?;
        let written = Staged::ahead(&blobs::folder(&self.dir), row::digest(value), value);
        written.map_err(|error| self.write_error("a large value", value.len() as u64, error))
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        batch.check()?;
        let changes: Vec<_> = batch.changes().map(|(key, value)| (user_key(key), value)).collect();
        let floor_bytes = self.free_bytes_min.max(batch.free_bytes_min());
        self.commit_guarded(&mut self.lock_ledger(), &changes, floor_bytes)
    }

    fn repository(&self) -> Result<Option<[u8; 32]>> {
        let id = self.get_internal(REPOSITORY_KEY)?;
        id.map(|id| id.try_into().map_err(|_| self.corrupt("repository id is not 32 bytes"))).transpose()
    }

    fn bind_repository(&self, id: [u8; 32]) -> Result<()> {
        let mut ledger = self.lock_ledger();
        match self.repository()? {
            Some(bound) if bound == id => Ok(()),
            Some(bound) => Err(Error::OtherRepository {
                dir: self.dir.clone(),
                found: hex::encode(bound),
                wanted: hex::encode(id),
            }),
            None => self.commit_guarded(
                &mut ledger,
                &[(REPOSITORY_KEY.to_vec(), Some(&Put::Value(id.to_vec())))],
                self.free_bytes_min,
            ),
        }
    }

    fn verify(&self) -> Result<Verified> {
        // The ledger is held too, so that the head stands still.
        let ledger = self.lock_ledger();
        let state = self.read();
        let table = self.table(&state)?;
        let mut seen = Sum { commit: ledger.sum.commit, ..Sum::default() };
        let mut verified = Verified::default();
        for row in table.range(b"", None).map_err(|reason| self.corrupt(reason))? {
            let (key, row) = row.map_err(|reason| self.corrupt(reason))?;
            if key == SUM_KEY {
                continue;
            }
            seen.rows += 1;
            seen.checks = seen.checks.wrapping_add(share(&row));
            let size_bytes = (key.len() - 1 + self.value(table, &key, &row)?.len()) as u64;
            if key[0] == USER {
                verified.rows += 1;
                verified.size_bytes += size_bytes;
            }
        }
        if seen != ledger.sum {
            return Err(self.corrupt("rows are missing, or older than what was acknowledged"));
        }
        Ok(verified)
    }

    fn export(&self, sink: &mut Sink<'_>) -> Result<()> {
        let state = self.read();
        let table = self.table(&state)?;
        self.visit(table, b"", None, |key, internal_key, row| {
            sink(key, &self.value(table, internal_key, row)?)?;
            Ok(true)
        })
    }

    fn close(&self) -> Result<()> {
        let mut ledger = self.lock_ledger();
        let moved = if matches!(*self.read(), State::Open(_)) { self.move_down_at_close(&mut ledger) } else { Ok(()) };
        let old = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if let State::Failed(_) = *state {
                return Ok(());
            }
            std::mem::replace(&mut *state, State::Closed)
        };
        let closed = if let State::Open(table) = old { table.rows.close() } else { Ok(()) };
        ledger.lock = None;
        moved.and(closed).map_err(|reason| Error::Failed { dir: self.dir.clone(), reason })
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
