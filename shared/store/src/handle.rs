//! The handle that services hold: asynchronous commits, grouped by one writer thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::rows::panic_message;
use crate::{BATCH_ROWS_MAX, Batch, Error, Options, Result, Row, Sink, SledStore, StateStore, Verified};

/// Most commits waiting; further callers wait for their turn.
const QUEUE_COMMITS_MAX: usize = 1024;
/// Most bytes waiting, in KiB (one larger batch may wait alone).
const QUEUE_KIB_MAX: u32 = 64 * 1024;
/// A group takes no further commit once it holds this many bytes.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A cheap, clonable handle to one state store.
///
/// Commits go through one writer thread, which merges those that wait into one batch with one barrier. When the last
/// handle is dropped, what waits is committed and the directory is given up. Reads block for the time of a commit at most.
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
}

struct Request {
    batch: Batch,
    answer: oneshot::Sender<Result<()>>,
    _budget: OwnedSemaphorePermit,
}

impl Store {
    /// Opens the state directory with the default backend, and creates it if it is absent.
    ///
    /// # Errors
    /// `InUse`, `NewerFormat`, `OtherKind`, `Corrupt`, `NoSpace` (nothing left to recover with), or `Io`.
    pub fn open(options: Options) -> Result<Store> {
        let dir = options.dir.clone();
        Store::with_backend(dir, Arc::new(SledStore::open(options)?))
    }

    /// A handle in front of any backend; `dir` stands in error messages.
    ///
    /// # Errors
    /// `Io` if the writer thread can't be started.
    pub fn with_backend(dir: impl Into<PathBuf>, state: Arc<dyn StateStore>) -> Result<Store> {
        let dir = dir.into();
        let (sender, receiver) = mpsc::channel(QUEUE_COMMITS_MAX);
        let (failure, _) = watch::channel(None);
        let writer = Writer { dir: dir.clone(), state: Arc::clone(&state), receiver, failure: failure.clone() };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|e| Error::io("start the writer thread for", &dir, e))?;
        let inner = Inner {
            dir,
            state,
            queue: Mutex::new(Some(sender)),
            budget: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            failure,
            writer: Mutex::new(Some(thread)),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// See [`StateStore::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        self.inner.watched(self.inner.state.get(key.as_ref()))
    }

    /// See [`StateStore::scan`].
    ///
    /// # Errors
    /// As there.
    pub fn scan(&self, prefix: impl AsRef<[u8]>, after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>> {
        self.inner.watched(self.inner.state.scan(prefix.as_ref(), after, limit))
    }

    /// See [`StateStore::keys`].
    ///
    /// # Errors
    /// As there.
    pub fn keys(&self, prefix: impl AsRef<[u8]>, after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.inner.watched(self.inner.state.keys(prefix.as_ref(), after, limit))
    }

    /// Makes all changes of a batch durable, or none; answers when they are. See [`StateStore::commit`].
    ///
    /// Takes a [`Batch`] or the end of a chain: `store.commit(Batch::new().put("a", "1").delete("b"))`. If the future is dropped,
    /// the batch may still be committed. Commits of one task take effect in their order.
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
            let request = Request { batch, answer, _budget: budget };
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
        self.inner.watched(self.inner.state.repository())
    }

    /// Binds this state to a repository (the digest of its first root) for ever. Blocks for one commit.
    ///
    /// # Errors
    /// As [`StateStore::bind_repository`].
    pub fn bind_repository(&self, id: [u8; 32]) -> Result<()> {
        self.inner.watched(self.inner.state.bind_repository(id))
    }

    /// Reads and checks everything; blocks.
    ///
    /// # Errors
    /// As [`StateStore::verify`].
    pub fn verify(&self) -> Result<Verified> {
        self.inner.watched(self.inner.state.verify())
    }

    /// Gives every row to `sink`, all of one instant; blocks, and commits wait meanwhile.
    ///
    /// # Errors
    /// As [`StateStore::export`].
    pub fn export(&self, sink: &mut Sink<'_>) -> Result<()> {
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

    /// Damage found by a reader ends the process as a failed write does.
    fn watched<T>(&self, result: Result<T>) -> Result<T> {
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

fn announce(failure: &watch::Sender<Option<Error>>, error: &Error) {
    failure.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert_with(|| error.clone());
        first
    });
}

/// The thread that commits.
struct Writer {
    dir: PathBuf,
    state: Arc<dyn StateStore>,
    receiver: mpsc::Receiver<Request>,
    failure: watch::Sender<Option<Error>>,
}

impl Writer {
    fn run(mut self) {
        let mut first = self.receiver.blocking_recv();
        while let Some(request) = first {
            let (group, next) = self.gather(request);
            self.commit_group(group);
            first = next.or_else(|| self.receiver.blocking_recv());
        }
    }

    /// Takes what waits behind `first`, and the first request that did not fit.
    fn gather(&mut self, first: Request) -> (Vec<Request>, Option<Request>) {
        let (mut rows, mut size_bytes) = (first.batch.len(), first.batch.size_bytes());
        let mut group = vec![first];
        while let Ok(request) = self.receiver.try_recv() {
            rows += request.batch.len();
            size_bytes += request.batch.size_bytes();
            if rows > BATCH_ROWS_MAX || size_bytes > GROUP_BYTES_MAX {
                return (group, Some(request));
            }
            group.push(request);
        }
        (group, None)
    }

    fn commit_group(&self, group: Vec<Request>) {
        if group.len() > 1 {
            let mut merged = Batch::new();
            for request in &group {
                merged.append(request.batch.clone());
            }
            let result = self.commit(&merged);
            // What is refused without a trace is tried one by one, so that a large batch does not take small ones along.
            if !matches!(result, Err(Error::NoSpace { .. } | Error::Limit { .. })) {
                return group.into_iter().for_each(|request| drop(request.answer.send(result.clone())));
            }
        }
        for request in group {
            let result = self.commit(&request.batch);
            drop(request.answer.send(result));
        }
    }

    fn commit(&self, batch: &Batch) -> Result<()> {
        let known = self.failure.borrow().clone();
        if let Some(error) = known {
            return Err(Error::Failed { dir: self.dir.clone(), reason: error.to_string() });
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.state.commit(batch))).unwrap_or_else(|panic| {
            Err(Error::Failed { dir: self.dir.clone(), reason: format!("panic: {}", panic_message(panic.as_ref())) })
        });
        if let Err(error) = &result
            && !matches!(error, Error::NoSpace { .. } | Error::Limit { .. } | Error::Closed { .. })
        {
            announce(&self.failure, error);
        }
        result
    }
}
