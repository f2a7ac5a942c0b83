//! The default backend: rows in sled, large values in files, and a head file that both must agree with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::blobs::{self, Blobs};
use crate::head::{Entry, Head, Sum};
use crate::row::{BlobDigest, Value, share};
use crate::rows::{Change, OpenError, Outcome, Rows, panic_message};
use crate::{Batch, Error, Options, Result, Row, Sink, StateStore, Verified, files, layout};

/// Callers' keys stand behind this byte.
const USER: u8 = b'u';
/// The row that holds the repository's identity.
const REPOSITORY_KEY: &[u8] = b"irepository";
/// The row that holds what the other rows add up to; it has no checksum of its own, as it must agree with them.
const SUM_KEY: &[u8] = b"s";

/// Rows are moved to a fresh generation when so many times the bytes of the rows alive were written.
const GENERATION_FACTOR: u64 = 8;
/// What a row costs beside its key and value, in bytes: a generous guess.
const ROW_OVERHEAD_BYTES: u64 = 64;
/// Rows copied by one batch when a generation is moved.
const MOVE_ROWS: usize = 1024;

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

/// What only the one who commits touches.
#[derive(Debug)]
struct Writer {
    head: Head,
    blobs: Blobs,
    /// Bytes of the rows alive, with overhead.
    live_bytes: u64,
    /// Bytes written to this generation.
    generation_bytes: u64,
    /// Dropped when the store is closed.
    lock: Option<File>,
}

/// A commit worked out, before anything is written.
struct Plan {
    changes: Vec<Change>,
    sum: Sum,
    referred: Vec<BlobDigest>,
    released: Vec<BlobDigest>,
    live_bytes: u64,
    written_bytes: u64,
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
        create_private_dir(&options.dir)?;
        let lock = layout::lock(&options.dir)?;
        let dir = options.dir.clone();
        check_space(&dir, options.free_bytes_min, 0)?;
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
        check_space(&self.dir, self.free_bytes_min, wanted_bytes)?;

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

impl Writer {
    /// Reads every row of a database just opened: its checksum, the files it needs, and whether all are there.
    fn load(&mut self, dir: &Path, rows: &Rows) -> Result<()> {
        let (mut seen, mut told) = (Sum::default(), None);
        let visited = rows.visit(b"", None, |key, row| {
            if key == SUM_KEY {
                told = Sum::decode(row);
                return Ok(true);
            }
            let value = Value::decode(key, row).ok_or_else(|| Error::corrupt(dir, damaged(key)))?;
            seen.rows += 1;
            seen.checks = seen.checks.wrapping_add(share(row));
            self.live_bytes += row_bytes(key, row);
            if let Value::Blob(digest) = value {
                self.blobs.refer(digest);
            }
            Ok(true)
        });
        visited.map_err(|reason| Error::corrupt(dir, reason))??;
        let told = told.ok_or_else(|| Error::corrupt(dir, "the row that counts the others is missing"))?;
        if (seen.rows, seen.checks) != (told.rows, told.checks) {
            return Err(Error::corrupt(dir, format!("{} rows were written, {} are whole", told.rows, seen.rows)));
        }
        let head = self.head.entry();
        // A crash between the rows' barrier and the head's leaves the head one commit behind.
        let agreed = told == head.sum || told.commit == head.sum.commit + 1;
        if !agreed {
            let reason = format!("rows end at commit {}, but {} was acknowledged", told.commit, head.sum.commit);
            return Err(Error::corrupt(dir, reason));
        }
        if told != head.sum {
            let written = self.head.advance(head.generation, told);
            written.map_err(|e| Error::io("write", &dir.join("head"), e))?;
        }
        self.blobs.sweep()
    }

    /// Works out what changes: rows, their sum, and which files gain or lose a reference.
    fn plan(&self, rows: &Rows, changes: &[(Vec<u8>, Option<&[u8]>)], values: &[Option<Value>]) -> Outcome<Plan> {
        let mut sum = self.head.entry().sum;
        sum.commit += 1;
        let mut plan = Plan {
            changes: Vec::with_capacity(changes.len()),
            sum,
            referred: Vec::new(),
            released: Vec::new(),
            live_bytes: self.live_bytes,
            written_bytes: ROW_OVERHEAD_BYTES,
        };
        for ((key, _), value) in changes.iter().zip(values) {
            let old = rows.get(key)?;
            let row = value.as_ref().map(|value| value.encode(key));
            if old.as_deref() == row.as_deref() {
                continue;
            }
            if let Some(old) = old {
                plan.sum.rows -= 1;
                plan.sum.checks = plan.sum.checks.wrapping_sub(share(&old));
                plan.live_bytes = plan.live_bytes.saturating_sub(row_bytes(key, &old));
                let old = Value::decode(key, &old).ok_or_else(|| damaged(key))?;
                if let Value::Blob(digest) = old {
                    plan.released.push(digest);
                }
            }
            if let Some(row) = &row {
                plan.sum.rows += 1;
                plan.sum.checks = plan.sum.checks.wrapping_add(share(row));
                plan.live_bytes += row_bytes(key, row);
                plan.written_bytes += row_bytes(key, row);
            }
            if let Some(Value::Blob(digest)) = value {
                plan.referred.push(*digest);
            }
            plan.changes.push((key.clone(), row));
        }
        Ok(plan)
    }

    /// Takes over what a durable commit changed, and deletes the files that no row needs any more.
    fn accept(&mut self, plan: Plan) {
        self.live_bytes = plan.live_bytes;
        self.generation_bytes += plan.written_bytes;
        for digest in plan.referred {
            self.blobs.refer(digest);
        }
        for digest in &plan.released {
            self.blobs.release(digest);
        }
        self.blobs.collect(&plan.released);
    }
}

/// The first generation and the head. Nothing was acknowledged before the head is there.
fn create_state(dir: &Path) -> Result<Head> {
    let target = generation_dir(dir, 0);
    if target.exists() {
        let rows = Rows::open(&target).map_err(|e| e.of(dir, &target))?;
        let sum = rows.get(SUM_KEY).and_then(|row| rows.close().map(|()| row));
        let sum = sum.map_err(|reason| Error::corrupt(dir, reason))?.and_then(|row| Sum::decode(&row));
        if sum != Some(Sum::default()) {
            return Err(Error::corrupt(dir, "there are rows, but no head file"));
        }
    } else {
        let building = dir.join("rows.new");
        if building.exists() {
            fs::remove_dir_all(&building).map_err(|e| Error::io("delete", &building, e))?;
        }
        create_rows(&building).map_err(|e| e.of(dir, &building))?;
        fs::rename(&building, &target).map_err(|e| Error::io("rename", &building, e))?;
    }
    files::create_dir(&dir.join("blobs"))?;
    files::sync_dir(dir)?;
    Head::create(&dir.join("head"), Entry::default())
}

fn create_rows(dir: &Path) -> std::result::Result<(), OpenError> {
    let rows = Rows::open(dir)?;
    rows.commit(vec![(SUM_KEY.to_vec(), Some(Sum::default().encode().to_vec()))])?;
    Ok(rows.close()?)
}

/// Copies every row as it stands, or as `changes` (in the order of keys) have it, into a fresh, durable database.
fn copy_rows(old: &Rows, changes: Vec<Change>, target: &Path) -> Outcome<Rows> {
    if target.exists() {
        fs::remove_dir_all(target).map_err(|e| format!("can't delete {}: {e}", target.display()))?;
    }
    let fresh = Rows::open(target).map_err(|e| format!("can't create {}: {e:?}", target.display()))?;
    let mut waiting = Vec::with_capacity(MOVE_ROWS);
    let mut copy = |change: Change| {
        waiting.push(change);
        if waiting.len() == MOVE_ROWS { fresh.apply(std::mem::take(&mut waiting)) } else { Ok(()) }
    };
    let mut changes = changes.into_iter().peekable();
    old.visit(b"", None, |key, row| {
        while let Some(change) = changes.next_if(|(changed, _)| changed.as_slice() < key) {
            copy(change)?;
        }
        let change = changes.next_if(|(changed, _)| changed.as_slice() == key);
        copy(change.unwrap_or_else(|| (key.to_vec(), Some(row.to_vec()))))?;
        Ok::<bool, String>(true)
    })??;
    changes.try_for_each(copy)?;
    fresh.commit(waiting)?;
    files::sync_dir(target).map_err(|e| e.to_string())?;
    Ok(fresh)
}

fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("rows-{generation}"))
}

/// Deletes generations that do not count any more, or never did.
fn remove_other_generations(dir: &Path, current: &Path) -> Result<()> {
    for path in files::entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path != current && (name.starts_with("rows-") || name == "rows.new") {
            fs::remove_dir_all(&path).map_err(|e| Error::io("delete", &path, e))?;
        }
    }
    Ok(())
}

/// Creates the state directory, for its owner only.
fn create_private_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        files::create_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create directory", dir, e)),
        _ => {}
    }
    files::sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

fn check_space(dir: &Path, floor_bytes: u64, wanted_bytes: u64) -> Result<()> {
    let free_bytes = files::free_bytes(dir)?;
    if free_bytes < floor_bytes.saturating_add(wanted_bytes) {
        return Err(Error::NoSpace { dir: dir.to_owned(), free_bytes, wanted_bytes, floor_bytes });
    }
    Ok(())
}

fn user_key(key: &[u8]) -> Vec<u8> {
    let mut internal = Vec::with_capacity(key.len() + 1);
    internal.push(USER);
    internal.extend_from_slice(key);
    internal
}

fn row_bytes(key: &[u8], row: &[u8]) -> u64 {
    (key.len() + row.len()) as u64 + ROW_OVERHEAD_BYTES
}

fn damaged(key: &[u8]) -> String {
    format!("row {} is damaged", String::from_utf8_lossy(key).escape_default())
}
