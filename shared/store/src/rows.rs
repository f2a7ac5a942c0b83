//! One sled database, with what sled leaves out: an fsync, and errors in place of panics.

use std::{
    fs::{self, File},
    io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{Error, files};

/// A failure of sled, told in words; after it the database must not be used.
pub(crate) type Outcome<T> = std::result::Result<T, String>;

/// Memory that sled may use for pages, in bytes.
const CACHE_BYTES: u64 = 16 << 20;
/// How long to wait for a database that this process has just closed: sled frees its file a little later.
const REOPEN_PATIENCE: Duration = Duration::from_secs(10);
/// After an error on its own threads, sled may leave a caller asleep for ever; another call then wakes it. So after
/// these times somebody calls, and after the last one the database is given up.
const NUDGES_AFTER_SECONDS: [u64; 7] = [1, 1, 2, 4, 8, 16, 32];

/// Why a database can't be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// What is stored makes no sense.
    Damaged(String),
    /// The operating system refuses: what is stored may be whole.
    Refused(io::Error),
}

impl From<sled::Error> for OpenError {
    fn from(error: sled::Error) -> Self {
        let senseless = [io::ErrorKind::NotFound, io::ErrorKind::InvalidInput, io::ErrorKind::UnexpectedEof];
        match error {
            sled::Error::Io(error) if error.raw_os_error().is_some() && !senseless.contains(&error.kind()) => {
                Self::Refused(error)
            }
            other => Self::Damaged(format!("sled: {other}")),
        }
    }
}

impl From<String> for OpenError {
    fn from(reason: String) -> Self {
        Self::Refused(io::Error::other(reason))
    }
}

impl OpenError {
    /// As an error of the store in `state_dir`, whose rows are in `dir`.
    pub(crate) fn of(self, state_dir: &Path, dir: &Path) -> Error {
        match self {
            Self::Damaged(reason) => Error::corrupt(state_dir, reason),
            Self::Refused(source) => Error::io("open the rows in", dir, source),
        }
    }
}

/// What smaller batches leave behind is freed in passing.
const DRAINED_ROWS_MIN: usize = 64;
/// Reads for each row of a batch after which its remains are gone: a read takes a tenth of a microsecond.
const DRAINING_READS: usize = 8;

/// A row's new content under its key; `None` removes it.
pub(crate) type Change = (Vec<u8>, Option<Vec<u8>>);

/// An open database.
#[derive(Debug)]
pub(crate) struct Rows {
    db: sled::Db,
    file_path: PathBuf,
    committer: Option<Committer>,
}

/// The thread that calls sled to write, so that nobody else can be left asleep by it.
#[derive(Debug)]
struct Committer {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Job {
    changes: Vec<Change>,
    durable: bool,
    answer: SyncSender<Outcome<()>>,
}

impl Rows {
    /// Opens or creates the database in `dir`, and makes what sled wrote while opening durable.
    pub(crate) fn open(dir: &Path) -> std::result::Result<Self, OpenError> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let started = Instant::now();
        let db = loop {
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
            let error = match opened {
                Ok(Ok(db)) => break db,
                Ok(Err(error)) => error,
                Err(panic) => return Err(OpenError::Damaged(told(panic.as_ref()))),
            };
            let locked = error.to_string().contains("could not acquire lock");
            if locked && started.elapsed() < REOPEN_PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            return Err(OpenError::from(error));
        };
        let file_path = dir.join("db");
        let file = File::open(&file_path).map_err(|e| format!("can't open {}: {e}", file_path.display()))?;
        let committer = Committer::start(db.clone(), file).map_err(|e| format!("can't start a thread: {e}"))?;
        let rows = Self { db, file_path, committer: Some(committer) };
        rows.commit(Vec::new())?;
        let synced = files::sync_file(&dir.join("conf")).and_then(|()| files::sync_dir(dir));
        synced.map_err(|e| e.to_string())?;
        Ok(rows)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Outcome<Option<sled::IVec>> {
        guarded(|| self.db.get(key))
    }

    /// Rows whose keys start with `prefix` and come after `after`, in order.
    pub(crate) fn range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Outcome<impl Iterator<Item = Outcome<(sled::IVec, sled::IVec)>> + use<>> {
        let mut rows = guarded(|| Ok(self.db.range::<&[u8], _>((start(prefix, after), Bound::Unbounded))))?;
        let prefix = prefix.to_vec();
        let rows = std::iter::from_fn(move || guarded(|| rows.next().transpose()).transpose());
        Ok(rows.take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix))))
    }

    /// Applies all changes as one; they are durable with the next [`Rows::commit`].
    pub(crate) fn apply(&self, changes: Vec<Change>) -> Outcome<()> {
        self.order(changes, false)
    }

    /// Applies all changes as one and makes everything applied durable.
    pub(crate) fn commit(&self, changes: Vec<Change>) -> Outcome<()> {
        self.order(changes, true)
    }

    fn order(&self, changes: Vec<Change>, durable: bool) -> Outcome<()> {
        let gone = || "sled's thread is gone".to_owned();
        let (answer, answered) = sync_channel(1);
        let committer = self.committer.as_ref().ok_or_else(gone)?;
        committer.jobs.send(Job { changes, durable, answer }).map_err(|_| gone())?;
        for patience in NUDGES_AFTER_SECONDS {
            match answered.recv_timeout(Duration::from_secs(patience)) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => self.nudge(),
            }
        }
        Err("sled does not answer".to_owned())
    }

    /// Lets sled notice an error that it has kept to itself. This call may be left asleep as well, so nobody waits for
    /// it.
    fn nudge(&self) {
        let db = self.db.clone();
        let nudge = std::thread::Builder::new().name("store-nudge".to_owned());
        let nudged = nudge.spawn(move || {
            // Its outcome is the committer's to report.
            drop(guarded(move || db.flush()));
        });
        if let Err(error) = nudged {
            tracing::warn!(%error, "no thread to wake sled");
        }
    }

    /// Size of the database's file in bytes.
    pub(crate) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.file_path).map_or(0, |metadata| metadata.len())
    }

    /// Frees the database; what sled does on that way can panic too.
    pub(crate) fn close(mut self) -> Outcome<()> {
        if let Some(Committer { jobs, thread }) = self.committer.take() {
            drop(jobs);
            thread.join().map_err(|panic| panic_message(panic.as_ref()))?;
        }
        guarded(|| {
            drop(self);
            Ok(())
        })
    }
}

/// Where rows begin whose keys start with `prefix` and come after `after`.
pub(crate) fn start<'a>(prefix: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}

impl Committer {
    fn start(db: sled::Db, file: File) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(1);
        let thread = std::thread::Builder::new().name("store-sled".to_owned());
        let thread = thread.spawn(move || work(&db, &file, &waiting))?;
        Ok(Self { jobs, thread })
    }
}

fn work(db: &sled::Db, file: &File, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let rows = job.changes.len();
        let outcome = apply(db, job.changes).and_then(|()| if job.durable { sync(db, file) } else { Ok(()) });
        // Who has given up waiting has told the failure already.
        drop(job.answer.send(outcome));
        if rows >= DRAINED_ROWS_MIN {
            drain(db, rows);
        }
    }
}

/// Lets sled free what a batch left behind: each access frees a little of what no access uses any more.
fn drain(db: &sled::Db, rows: usize) {
    for _ in 0..rows * DRAINING_READS {
        if guarded(|| db.contains_key(b"")).is_err() {
            return;
        }
    }
}

fn apply(db: &sled::Db, changes: Vec<Change>) -> Outcome<()> {
    guarded(|| {
        let mut batch = sled::Batch::default();
        for (key, row) in changes {
            match row {
                Some(row) => batch.insert(key, row),
                None => batch.remove(key),
            }
        }
        db.apply_batch(batch)
    })
}

/// sled's flush writes, our fsync keeps.
fn sync(db: &sled::Db, file: &File) -> Outcome<()> {
    guarded(|| db.flush())?;
    file.sync_data().map_err(|e| format!("can't fsync sled's file: {e}"))
}

/// Calls sled: damage makes it panic more often than it answers an error.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Outcome<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("sled: {error}")),
        Err(panic) => Err(told(panic.as_ref())),
    }
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    format!("sled panicked: {}", panic_message(panic))
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}
