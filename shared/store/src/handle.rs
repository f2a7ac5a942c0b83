//! The handle that services hold: asynchronous commits, made by one thread.

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::{
    Batch, Error, Options, Result, Row, Scratch, Sink, SledStore, Staged, StateStore, Verified, files,
    group::{Groups, Request, announce},
    sealed::{self, NewFile, SealedFile},
};

/// Most commits waiting; further callers wait for their turn.
const QUEUE_COMMITS_MAX: usize = 1024;
/// Most bytes waiting, in KiB (one larger batch may wait alone).
const QUEUE_KIB_MAX: u32 = 64 * 1024;

/// A cheap, clonable handle to one state store.
///
/// Commits go through one writer thread, which merges those that wait into one batch with one barrier. When the last
/// handle is dropped, what waits is committed and the directory is given up. Reads block while a commit is shown, or
/// for the time of one that is too large for the log.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    state: Arc<dyn StateStore>,
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    budget: Arc<Semaphore>,
    failure: watch::Sender<Option<Error>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// See [`Store::refuse_workers`].
    refuses_workers: AtomicBool,
}

impl Store {
    /// Opens the state directory with the default backend, and creates it if it is absent.
    ///
    /// # Errors
    /// `InUse`, `NewerFormat`, `OtherKind`, `Corrupt`, `NoSpace` (nothing left to recover with), or `Io`.
    pub fn open(options: Options) -> Result<Self> {
        let dir = options.dir.clone();
        Self::with_backend(dir, Arc::new(SledStore::open(options)?))
    }

    /// A handle in front of any backend; `dir` stands in error messages.
    ///
    /// # Errors
    /// `Io` if the writer thread can't be started.
    pub fn with_backend(dir: impl Into<PathBuf>, state: Arc<dyn StateStore>) -> Result<Self> {
        let dir = dir.into();
        let (sender, receiver) = mpsc::channel(QUEUE_COMMITS_MAX);
        let (failure, _) = watch::channel(None);
        let groups = Groups { dir: dir.clone(), state: Arc::clone(&state), receiver, failure: failure.clone() };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || groups.run());
        let thread = thread.map_err(|e| Error::io("start the writer thread for", &dir, e))?;
        let inner = Inner {
            dir,
            state,
            queue: Mutex::new(Some(sender)),
            budget: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            failure,
            writer: Mutex::new(Some(thread)),
            refuses_workers: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// From now on every call that blocks panics, in debug builds, on a thread that drives a runtime: whatever else is
    /// to run on that would wait for the disk.
    pub fn refuse_workers(&self) {
        self.inner.refuses_workers.store(true, Ordering::Relaxed);
    }

    /// A file without a name beside the state, which will take `bytes`.
    ///
    /// # Errors
    /// As [`Scratch::create`].
    pub fn scratch(&self, bytes: u64) -> Result<Scratch> {
        self.inner.blocks();
        Scratch::create(&self.inner.dir, bytes)
    }

    /// A file that will be sealed under `name`, which has no dot; blocks.
    ///
    /// # Errors
    /// `Io`.
    pub fn new_file(&self, name: &str) -> Result<NewFile> {
        self.inner.blocks();
        NewFile::create(&self.inner.dir, name)
    }

    /// A file that was sealed; blocks.
    ///
    /// # Errors
    /// `Io`, also if there is none of this name.
    pub fn open_file(&self, name: &str) -> Result<SealedFile> {
        self.inner.blocks();
        SealedFile::open(&self.inner.dir, name)
    }

    /// The names of all sealed files; blocks. Call it while no file is being written: what is not sealed is deleted.
    ///
    /// # Errors
    /// `Io`.
    pub fn file_names(&self) -> Result<Vec<String>> {
        self.inner.blocks();
        sealed::list(&self.inner.dir)
    }

    /// Deletes a sealed file, if there is one; blocks. Whoever has it open may go on reading.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        self.inner.blocks();
        sealed::remove(&self.inner.dir, name)
    }

    /// Whether so many bytes more leave so much of the disk free; blocks.
    ///
    /// # Errors
    /// `NoSpace` where they do not; `Io`.
    pub fn check_space(&self, leaves: u64, bytes: u64) -> Result<()> {
        self.inner.blocks();
        files::check_space(&self.inner.dir, leaves, bytes)
    }

    /// See [`StateStore::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        self.inner.watched(|state| state.get(key.as_ref()))
    }

    /// See [`StateStore::scan`].
    ///
    /// # Errors
    /// As there.
    pub fn scan(&self, prefix: impl AsRef<[u8]>, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        self.inner.watched(|state| state.scan(prefix.as_ref(), after, limit))
    }

    /// See [`StateStore::keys`].
    ///
    /// # Errors
    /// As there.
    pub fn keys(&self, prefix: impl AsRef<[u8]>, after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.inner.watched(|state| state.keys(prefix.as_ref(), after, limit))
    }

    /// Writes a value ahead of its batch; blocks. See [`StateStore::stage`].
    ///
    /// # Errors
    /// As there.
    pub fn stage(&self, value: &[u8]) -> Result<Staged> {
        self.inner.watched(|state| state.stage(value))
    }

    /// Makes all changes of a batch durable, or none; answers when they are. See [`StateStore::commit`].
    ///
    /// Takes a [`Batch`] or the end of a chain: `store.commit(Batch::new().put("a", "1").delete("b"))`. If the future
    /// is dropped, the batch may still be committed. Commits of one task take effect in their order.
    ///
    /// # Errors
    /// As [`StateStore::commit`]; after `Failed`, [`Store::failed`] resolves too.
    pub fn commit<B: Into<Batch>>(&self, batch: B) -> impl Future<Output = Result<()>> + Send + use<B> {
        let (inner, batch) = (Arc::clone(&self.inner), batch.into());
        async move {
            batch.check()?;
            let sender = inner.sender()?;
            let wanted = u32::try_from(batch.size_bytes() / 1024).unwrap_or(u32::MAX).clamp(1, QUEUE_KIB_MAX);
            let budget = Arc::clone(&inner.budget).acquire_many_owned(wanted).await;
            let budget = budget.map_err(|_| inner.closed())?;
            let (answer, answered) = oneshot::channel();
            let request = Request::new(batch, answer, budget);
            sender.send(request).await.map_err(|_| inner.closed())?;
            drop(sender);
            answered.await.map_err(|_| inner.closed())?
        }
    }

    /// The repository that this state belongs to, once bound.
    ///
    /// # Errors
    /// As [`StateStore::repository`].
    pub fn repository(&self) -> Result<Option<[u8; 32]>> {
        self.inner.watched(|state| state.repository())
    }

    /// Binds this state to a repository (the digest of its first root) for ever. Blocks for one commit.
    ///
    /// # Errors
    /// As [`StateStore::bind_repository`].
    pub fn bind_repository(&self, id: [u8; 32]) -> Result<()> {
        self.inner.watched(|state| state.bind_repository(id))
    }

    /// Reads and checks everything; blocks.
    ///
    /// # Errors
    /// As [`StateStore::verify`].
    pub fn verify(&self) -> Result<Verified> {
        self.inner.watched(|state| state.verify())
    }

    /// Gives every row to `sink`, all of one instant; blocks, and commits wait meanwhile.
    ///
    /// # Errors
    /// As [`StateStore::export`].
    pub fn export(&self, sink: &mut Sink<'_>) -> Result<()> {
        self.inner.blocks();
        self.inner.state.export(sink)
    }

    /// Resolves when the store has failed or found damage: the process must end then. Pending for ever otherwise.
    pub fn failed(&self) -> impl Future<Output = Error> + Send + use<> {
        let (mut failure, inner) = (self.inner.failure.subscribe(), Arc::downgrade(&self.inner));
        async move {
            drop(inner);
            match failure.wait_for(Option::is_some).await.map(|error| error.clone()) {
                Ok(Some(error)) => error,
                _ => std::future::pending().await,
            }
        }
    }

    /// Commits what waits, ends the writer thread and gives up the directory, whatever other handles there are.
    ///
    /// # Errors
    /// As [`StateStore::close`].
    pub async fn close(self) -> Result<()> {
        let inner = self.inner;
        let closing = tokio::task::spawn_blocking(move || {
            inner.finish();
            inner.state.close()
        });
        closing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Inner {
    fn closed(&self) -> Error {
        Error::Closed { dir: self.dir.clone() }
    }

    fn sender(&self) -> Result<mpsc::Sender<Request>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clone().ok_or_else(|| self.closed())
    }

    fn blocks(&self) {
        let refuses = cfg!(debug_assertions) && self.refuses_workers.load(Ordering::Relaxed);
        if refuses && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // It knows its workers, and refuses to wait on them.
            runtime.block_on(std::future::ready(()));
        }
    }

    /// Damage found by a reader ends the process as a failed write does.
    fn watched<T>(&self, call: impl FnOnce(&dyn StateStore) -> Result<T>) -> Result<T> {
        self.blocks();
        let result = call(self.state.as_ref());
        if let Err(error @ (Error::Corrupt { .. } | Error::Failed { .. })) = &result {
            announce(&self.failure, error);
        }
        result
    }

    fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "writer thread of the store panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.finish();
    }
}
