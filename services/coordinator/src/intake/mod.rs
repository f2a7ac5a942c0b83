//! Acknowledging requests. One task owns the order: it takes what waits at the door, journals it with one fsync, puts it
//! into the queue, and only then answers.

mod load;
pub(crate) mod queue;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prost::Message as _;
use rstuf_api::proto::artifacts::v1 as proto;
use rstuf_runtime::{Clock, Metrics, names, telemetry};
use rstuf_tuf::{Change, Sha256, TargetPath};
use sha2::Digest as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::{
    Error, Result,
    blocking::blocking,
    intake::queue::{Load, PathKey, Queue, path_key},
    journal::{
        self, Journal,
        rows::{BatchRow, RequestRow, SubmissionRow, TaskKind, TaskRow, TaskState},
    },
    published::Published,
    tasks::Ids,
};

/// Requests that may stand at the door; further ones are refused.
const DOOR_MAX: usize = 1_024;
/// Requests journalled with one fsync.
const GROUP_MAX: usize = 256;
/// Bytes of changes journalled with one fsync.
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Imports open at a time.
const IMPORTS_MAX: usize = 8;
/// An import is journalled in parts of so many changes, or bytes; its last message may make a part larger.
const PART_CHANGES: u64 = 10_000;
const PART_BYTES: usize = 1024 * 1024;

/// What other parts of the coordinator see of the intake. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    shared: Arc<Shared>,
    door: mpsc::Sender<Request>,
}

struct Shared {
    journal: Journal,
    published: Published,
    clock: Clock,
    ids: Arc<Ids>,
    queue: Mutex<Queue>,
    waiting: Notify,
    imports: Arc<Semaphore>,
    depth: prometheus_client::metrics::gauge::Gauge,
}

struct Request {
    task: Uuid,
    kind: Kind,
    request_id: String,
    body: Sha256,
    trace: Option<String>,
    answer: oneshot::Sender<Result<Uuid>>,
}

enum Kind {
    /// One part, not journalled yet. Its paths, if they were asked for when it came.
    Submission {
        part: Vec<u8>,
        changes: u64,
        hold: bool,
        paths: Option<Vec<PathKey>>,
    },
    /// Parts that are journalled already.
    Import {
        parts: Parts,
        changes: u64,
        bytes: u64,
        hold: bool,
    },
    Publish,
}

/// The task that owns the order of acknowledgement.
pub(crate) struct IntakeTask {
    shared: Arc<Shared>,
    door: mpsc::Receiver<Request>,
    next_seq: u64,
}

/// An open import.
pub(crate) struct Import {
    intake: Intake,
    request_id: String,
    hold: bool,
    changes: u64,
    bytes: u64,
    body: sha2::Sha256,
    /// Encoded changes that are not journalled yet, and their number.
    buffer: Vec<u8>,
    buffered: u64,
    parts: Parts,
    _permit: OwnedSemaphorePermit,
}

/// Journalled parts of an import. Dropped before they are kept, they are deleted: whoever has them decides, so a caller who
/// goes away while the import is being acknowledged takes nothing back.
struct Parts {
    journal: Journal,
    task: Uuid,
    count: u32,
    kept: bool,
}

impl Intake {
    /// Loads what was acknowledged before, without what the batch under way carries already.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) async fn load(
        journal: Journal,
        published: Published,
        clock: Clock,
        ids: Arc<Ids>,
        metrics: &Metrics,
        batch: Option<&BatchRow>,
    ) -> Result<(Self, IntakeTask)> {
        let (queue, next_seq) = load::queue(&journal, batch)?;
        load::delete_orphans(&journal).await?;
        let depth = metrics.gauge(names::QUEUE_DEPTH, "submissions that wait for a batch");
        depth.set(i64::try_from(queue.waiting()).unwrap_or(i64::MAX));
        let shared = Arc::new(Shared {
            journal,
            published,
            clock,
            ids,
            queue: Mutex::new(queue),
            waiting: Notify::new(),
            imports: Arc::new(Semaphore::new(IMPORTS_MAX)),
            depth,
        });
        let (sender, receiver) = mpsc::channel(DOOR_MAX);
        Ok((Self { shared: shared.clone(), door: sender }, IntakeTask { shared, door: receiver, next_seq }))
    }

    /// Acknowledges one submission; the changes are checked.
    ///
    /// # Errors
    /// [`Error::NoCeremony`], [`Error::Starting`], [`Error::Full`], [`Error::DiskFull`], [`Error::RequestIdUsed`]; nothing
    /// changed then.
    pub(crate) async fn submit(&self, request_id: String, changes: &[Change], hold: bool) -> Result<Uuid> {
        let part = encode(changes);
        self.admit(Load { submissions: 1, changes: changes.len() as u64, bytes: part.len() as u64 }, hold)?;
        let paths = (hold || self.queue().asks_for_paths()).then(|| paths(changes));
        let body = body_digest(sha2::Sha256::new_with_prefix(&part), hold);
        let kind = Kind::Submission { part, changes: changes.len() as u64, hold, paths };
        self.ask(self.next_id(), kind, request_id, body).await
    }

    /// Asks for the publication of everything that is held.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub(crate) async fn publish(&self, request_id: String) -> Result<Uuid> {
        self.admit(Load { submissions: 1, ..Load::default() }, false)?;
        self.ask(self.next_id(), Kind::Publish, request_id, Sha256::of(b"publish")).await
    }

    /// Opens an import.
    ///
    /// # Errors
    /// [`Error::NoCeremony`], [`Error::Full`].
    pub(crate) fn import(&self, request_id: String, hold: bool) -> Result<Import> {
        self.admit(Load { submissions: 1, ..Load::default() }, hold)?;
        let permit = self.shared.imports.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::Full { what: "open imports", max: IMPORTS_MAX as u64 })?;
        let parts = Parts { journal: self.shared.journal.clone(), task: self.next_id(), count: 0, kept: false };
        Ok(Import {
            intake: self.clone(),
            request_id,
            hold,
            changes: 0,
            bytes: 0,
            body: sha2::Sha256::new(),
            buffer: Vec::new(),
            buffered: 0,
            parts,
            _permit: permit,
        })
    }

    /// The queue.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next batch out.
    pub(crate) fn take(&self) -> queue::Selection {
        let mut queue = self.queue();
        let selection = queue.take();
        self.shared.depth.set(i64::try_from(queue.waiting()).unwrap_or(i64::MAX));
        selection
    }

    /// Puts back what was taken.
    pub(crate) fn put_back(&self, selection: queue::Selection) {
        let mut queue = self.queue();
        queue.put_back(selection);
        self.shared.depth.set(i64::try_from(queue.waiting()).unwrap_or(i64::MAX));
        drop(queue);
        self.shared.waiting.notify_one();
    }

    /// Waits until something was added to the queue since the last call.
    pub(crate) async fn added(&self) {
        self.shared.waiting.notified().await;
    }

    fn next_id(&self) -> Uuid {
        self.shared.ids.next(self.shared.clock.now())
    }

    /// The checks that a request must pass before it is worked on; at the door they are made again.
    fn admit(&self, load: Load, hold: bool) -> Result<()> {
        self.shared.published.require_repository()?;
        self.queue().admit(load, hold, Load::default(), Load::default())
    }

    async fn ask(&self, task: Uuid, kind: Kind, request_id: String, body: Sha256) -> Result<Uuid> {
        let (answer, answered) = oneshot::channel();
        let trace = telemetry::current_traceparent();
        self.door.try_send(Request { task, kind, request_id, body, trace, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Full { what: "requests at the door", max: DOOR_MAX as u64 },
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })?;
        answered.await.map_err(|_| Error::Stopping)?
    }
}

impl Import {
    /// Takes more changes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::DiskFull`], [`Error::Invalid`]: then the import is over and nothing of it takes effect.
    pub(crate) async fn add(&mut self, changes: &[Change]) -> Result<()> {
        // Encoded changes one after the other are the encoded whole, however they were cut into messages.
        let encoded = encode(changes);
        self.body.update(&encoded);
        self.changes += changes.len() as u64;
        self.bytes += encoded.len() as u64;
        if self.bytes > queue::BYTES_PER_BATCH_MAX {
            let max = queue::BYTES_PER_BATCH_MAX;
            return Err(Error::field("changes", format!("more than {max} bytes in one import: make two of it")));
        }
        let load = Load { submissions: 1, changes: self.changes, bytes: self.bytes };
        self.intake.queue().admit(load, self.hold, Load::default(), Load::default())?;
        self.buffer.extend(encoded);
        self.buffered += changes.len() as u64;
        if self.buffered < PART_CHANGES && self.buffer.len() < PART_BYTES {
            return Ok(());
        }
        self.journal_part().await
    }

    async fn journal_part(&mut self) -> Result<()> {
        self.buffered = 0;
        let mut entry = journal::Entry::new();
        entry.put_part(self.parts.task, self.parts.count, std::mem::take(&mut self.buffer));
        // Counted first: if the caller goes away meanwhile, it may be journalled all the same.
        self.parts.count += 1;
        self.parts.journal.commit(entry).await.map_err(|error| refusal(&error))
    }

    /// Acknowledges the whole import.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub(crate) async fn close(mut self) -> Result<Uuid> {
        if self.changes == 0 {
            return Err(Error::field("changes", "the import is empty, allowed is at least one change"));
        }
        if !self.buffer.is_empty() {
            self.journal_part().await?;
        }
        let Self { intake, request_id, hold, changes, bytes, body, parts, _permit, .. } = self;
        let (task, body) = (parts.task, body_digest(body, hold));
        intake.ask(task, Kind::Import { parts, changes, bytes, hold }, request_id, body).await
    }
}

impl Drop for Parts {
    /// If the process dies before they are deleted, the next start deletes them.
    fn drop(&mut self) {
        if self.kept || self.count == 0 {
            return;
        }
        let (journal, task, count) = (self.journal.clone(), self.task, self.count);
        tokio::spawn(async move {
            let mut entry = journal::Entry::new();
            (0..count).for_each(|part| entry.delete_part(task, part));
            if let Err(error) = journal.commit(entry).await {
                tracing::warn!(%task, error = &error as &dyn std::error::Error, "parts of a broken import stay until the next start");
            }
        });
    }
}

impl IntakeTask {
    /// Acknowledges until the last handle is gone.
    ///
    /// # Errors
    /// [`Error::Store`] when the journal failed: the process must end.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut group = Vec::new();
        while self.door.recv_many(&mut group, GROUP_MAX).await > 0 {
            let mut rest = group.drain(..).peekable();
            while rest.peek().is_some() {
                let mut bytes = 0;
                let mut part = Vec::new();
                while bytes < GROUP_BYTES_MAX
                    && let Some(request) = rest.next()
                {
                    bytes += request.bytes();
                    part.push(request);
                }
                self.acknowledge(part).await?;
            }
        }
        Ok(())
    }

    async fn acknowledge(&mut self, group: Vec<Request>) -> Result<()> {
        let now = self.shared.clock.now();
        let mut entry = journal::Entry::new();
        let mut accepted: Vec<(u64, Request)> = Vec::new();
        // Sent twice at the same time: answered with the first, when that is journalled.
        let mut again = Vec::new();
        for request in group {
            match self.known(&request, &accepted) {
                Ok(None) => {}
                Ok(Some(Known::Journalled(task))) => {
                    answer(request.answer, Ok(task));
                    continue;
                }
                Ok(Some(Known::InGroup(task))) => {
                    again.push((request.answer, task));
                    continue;
                }
                Err(error) => {
                    answer(request.answer, Err(error));
                    continue;
                }
            }
            if let Err(error) = self.admit(&request, &accepted) {
                answer(request.answer, Err(error));
                continue;
            }
            self.next_seq += 1;
            self.write(&mut entry, self.next_seq, &request, now);
            accepted.push((self.next_seq, request));
        }
        // From here on they may be journalled, also if this task is cut short while it waits.
        accepted.iter_mut().for_each(|(_, request)| request.keep_parts(true));
        if let Err(error) = self.shared.journal.commit(entry).await {
            tracing::error!(error = &error as &dyn std::error::Error, "submissions could not be journalled");
            let fatal = !error.is_transient();
            for (_, mut request) in accepted {
                request.keep_parts(fatal);
                answer(request.answer, Err(refusal(&error)));
            }
            again.into_iter().for_each(|(sender, _)| answer(sender, Err(refusal(&error))));
            return if fatal { Err(error) } else { Ok(()) };
        }
        self.enqueue(accepted).await?;
        again.into_iter().for_each(|(sender, task)| answer(sender, Ok(task)));
        Ok(())
    }

    /// Whether there is room for it, behind those of the group.
    fn admit(&self, request: &Request, group: &[(u64, Request)]) -> Result<()> {
        let sum = |hold: bool| {
            let loads = group.iter().map(|(_, request)| request).filter(|request| request.is_held() == hold);
            loads.map(Request::load).fold(Load::default(), Load::plus)
        };
        self.lock().admit(request.load(), request.is_held(), sum(false), sum(true))
    }

    /// The task that a request was answered with before, or will be within this group.
    fn known(&self, request: &Request, group: &[(u64, Request)]) -> Result<Option<Known>> {
        if request.request_id.is_empty() {
            return Ok(None);
        }
        let earlier = group.iter().find(|(_, other)| other.request_id == request.request_id);
        let (body, known) = match earlier {
            Some((_, other)) => (other.body, Known::InGroup(other.task)),
            None => match self.shared.journal.request(&request.request_id)? {
                Some(row) => (row.body, Known::Journalled(row.task)),
                None => return Ok(None),
            },
        };
        if body == request.body {
            return Ok(Some(known));
        }
        let (Known::InGroup(task) | Known::Journalled(task)) = known;
        Err(Error::RequestIdUsed { request_id: request.request_id.clone(), task: task.to_string() })
    }

    fn write(&self, entry: &mut journal::Entry, seq: u64, request: &Request, now: Timestamp) {
        let (hold, Load { changes, bytes, .. }) = (request.is_held(), request.load());
        let (kind, parts) = match &request.kind {
            Kind::Submission { part, .. } => {
                entry.put_part(request.task, 0, part.clone());
                (TaskKind::Submission, 1)
            }
            Kind::Import { parts, .. } => (TaskKind::Import, parts.count),
            Kind::Publish => (TaskKind::Publish, 0),
        };
        if kind == TaskKind::Publish {
            entry.put_publish(seq, request.task);
        } else {
            let trace = request.trace.clone();
            entry.put_submission(seq, &SubmissionRow { task: request.task, parts, changes, bytes, hold, trace });
        }
        let state = if hold { TaskState::Held } else { TaskState::Waiting };
        entry.put_task(
            request.task,
            &TaskRow { state, changes, parts, request_id: request.request_id.clone(), ..TaskRow::new(kind, now) },
        );
        if !request.request_id.is_empty() {
            entry.put_request(&request.request_id, &RequestRow { task: request.task, body: request.body });
        }
    }

    async fn enqueue(&self, accepted: Vec<(u64, Request)>) -> Result<()> {
        let mut asks_for_paths = self.lock().asks_for_paths();
        let mut answers = Vec::new();
        for (seq, request) in accepted {
            let (task, hold, Load { changes, bytes, .. }) = (request.task, request.is_held(), request.load());
            asks_for_paths |= hold;
            let (parts, paths) = match request.kind {
                Kind::Publish => {
                    self.lock().publish(seq, task);
                    answers.push((request.answer, task));
                    continue;
                }
                Kind::Submission { paths, .. } => (1, paths),
                Kind::Import { parts, .. } => (parts.count, None),
            };
            let paths = match paths {
                Some(paths) if asks_for_paths => paths,
                None if asks_for_paths => {
                    let journal = self.shared.journal.clone();
                    blocking(move || load::stored_paths(&journal, task, parts)).await?
                }
                _ => Vec::new(),
            };
            self.lock().add(queue::Entry { seq, task, changes, bytes, hold, paths });
            answers.push((request.answer, task));
        }
        self.shared.depth.set(i64::try_from(self.lock().waiting()).unwrap_or(i64::MAX));
        self.shared.waiting.notify_one();
        answers.into_iter().for_each(|(sender, task)| answer(sender, Ok(task)));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request is known already.
enum Known {
    /// It was acknowledged.
    Journalled(Uuid),
    /// It is about to be.
    InGroup(Uuid),
}

impl Request {
    /// Bytes that are journalled with its acknowledgement.
    fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Submission { part, .. } => part.len(),
            Kind::Import { .. } | Kind::Publish => 0,
        }
    }

    fn load(&self) -> Load {
        match &self.kind {
            Kind::Submission { part, changes, .. } => {
                Load { submissions: 1, changes: *changes, bytes: part.len() as u64 }
            }
            Kind::Import { changes, bytes, .. } => Load { submissions: 1, changes: *changes, bytes: *bytes },
            Kind::Publish => Load { submissions: 1, ..Load::default() },
        }
    }

    /// Whether the parts of an import stay when the request is dropped.
    fn keep_parts(&mut self, keep: bool) {
        if let Kind::Import { parts, .. } = &mut self.kind {
            parts.kept = keep;
        }
    }

    fn is_held(&self) -> bool {
        match self.kind {
            Kind::Submission { hold, .. } | Kind::Import { hold, .. } => hold,
            Kind::Publish => false,
        }
    }
}

/// What the caller is told when the journal did not take its request.
fn refusal(error: &Error) -> Error {
    if error.is_transient() { Error::DiskFull } else { Error::Stopping }
}

/// A caller that went away can ask for its task by request id.
fn answer(sender: oneshot::Sender<Result<Uuid>>, result: Result<Uuid>) {
    let _ = sender.send(result);
}

fn encode(changes: &[Change]) -> Vec<u8> {
    let changes = changes.iter().map(proto::Change::from).collect();
    proto::SubmitArtifactsRequest { changes, ..Default::default() }.encode_to_vec()
}

/// Reads a part back.
///
/// # Errors
/// [`Error::Journal`].
pub(crate) fn decode(task: Uuid, part: u32, bytes: &[u8]) -> Result<Vec<Change>> {
    let changes = read(task, part, bytes)?.into_iter().map(rstuf_api::convert::change);
    changes.collect::<Result<_, _>>().map_err(|violation| unreadable(task, part, violation))
}

/// Reads a part back as messages, each with its path: much less work than all checks again.
///
/// # Errors
/// [`Error::Journal`].
pub(crate) fn decode_messages(task: Uuid, part: u32, bytes: &[u8]) -> Result<Vec<(TargetPath, proto::Change)>> {
    let with_path = |change: proto::Change| {
        let path = match &change.kind {
            Some(proto::change::Kind::Add(artifact)) => artifact.path.as_str(),
            Some(proto::change::Kind::RemovePath(path)) => path,
            None => "",
        };
        Ok((path.try_into().map_err(|error| unreadable(task, part, error))?, change))
    };
    read(task, part, bytes)?.into_iter().map(with_path).collect()
}

fn read(task: Uuid, part: u32, bytes: &[u8]) -> Result<Vec<proto::Change>> {
    let message = proto::SubmitArtifactsRequest::decode(bytes).map_err(|error| unreadable(task, part, error))?;
    Ok(message.changes)
}

fn unreadable(task: Uuid, part: u32, error: impl std::fmt::Display) -> Error {
    Error::Journal { key: format!("part/{task}/{part}"), message: error.to_string() }
}

/// The keys of their paths.
pub(crate) fn paths(changes: &[Change]) -> Vec<PathKey> {
    changes.iter().map(|change| path_key(change.path())).collect()
}

fn body_digest(body: sha2::Sha256, hold: bool) -> Sha256 {
    Sha256(body.chain_update([u8::from(hold)]).finalize().into())
}

#[cfg(test)]
mod tests;
