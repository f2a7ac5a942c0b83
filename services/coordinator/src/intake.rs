//! Acknowledging requests. One task owns the order: it takes what waits at the door, journals it with one fsync, puts it
//! into the queue, and only then answers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use prost::Message as _;
use rstuf_api::proto::artifacts::v1 as proto;
use rstuf_runtime::{Clock, Metrics, names, telemetry};
use rstuf_tuf::{Change, Sha256};
use sha2::Digest as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::{
    Error, Result,
    journal::{
        self, Journal,
        rows::{BatchRow, Counts, RequestRow, SubmissionRow, TaskKind, TaskRow, TaskState},
    },
    published::Published,
    queue::{self, PathKey, Queue, path_key},
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
/// Parts of one import.
pub(crate) const IMPORT_PARTS_MAX: u32 = 4_096;

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
    /// One part, not journalled yet.
    Submission {
        part: Vec<u8>,
        changes: u64,
        hold: bool,
        paths: Vec<PathKey>,
    },
    /// Parts that are journalled already.
    Import {
        parts: u32,
        changes: u64,
        hold: bool,
        paths: Vec<PathKey>,
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
    task: Uuid,
    request_id: String,
    hold: bool,
    parts: u32,
    changes: u64,
    paths: Vec<PathKey>,
    body: sha2::Sha256,
    closed: bool,
    _permit: OwnedSemaphorePermit,
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
        let (queue, next_seq) = load_queue(&journal, batch)?;
        delete_orphans(&journal).await?;
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
    /// [`Error::NotBootstrapped`], [`Error::Full`], [`Error::RequestIdUsed`], [`Error::Store`]; nothing changed then.
    pub(crate) async fn submit(&self, request_id: String, changes: &[Change], hold: bool) -> Result<Uuid> {
        self.admit(changes.len() as u64, hold)?;
        let part = encode(changes);
        let paths = if hold || self.queue().held() > 0 { paths(changes) } else { Vec::new() };
        let body = body_digest(sha2::Sha256::new_with_prefix(&part), hold);
        let kind = Kind::Submission { part, changes: changes.len() as u64, hold, paths };
        self.ask(self.next_id(), kind, request_id, body).await
    }

    /// Asks for the publication of everything that is held.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub(crate) async fn publish(&self, request_id: String) -> Result<Uuid> {
        self.admit(0, false)?;
        self.ask(self.next_id(), Kind::Publish, request_id, Sha256::of(b"publish")).await
    }

    /// Opens an import.
    ///
    /// # Errors
    /// [`Error::NotBootstrapped`], [`Error::Full`].
    pub(crate) fn import(&self, request_id: String, hold: bool) -> Result<Import> {
        self.admit(0, hold)?;
        let permit = self.shared.imports.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::Full { what: "open imports", max: IMPORTS_MAX as u64 })?;
        Ok(Import {
            intake: self.clone(),
            task: self.next_id(),
            request_id,
            hold,
            parts: 0,
            changes: 0,
            paths: Vec::new(),
            body: sha2::Sha256::new(),
            closed: false,
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
        self.queue().put_back(selection);
        self.shared.waiting.notify_one();
    }

    /// Waits until something was added to the queue since the last call.
    pub(crate) async fn added(&self) {
        self.shared.waiting.notified().await;
    }

    fn next_id(&self) -> Uuid {
        self.shared.ids.next(self.shared.clock.now())
    }

    /// The cheap checks, before any work is done for the request.
    fn admit(&self, changes: u64, hold: bool) -> Result<()> {
        self.shared.published.require_repository()?;
        self.queue().admit(changes, hold)
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

impl Queue {
    /// Whether so many more changes may come.
    fn admit(&self, changes: u64, hold: bool) -> Result<()> {
        if hold {
            return match self.held_changes() + changes <= queue::CHANGES_HELD_MAX {
                true => Ok(()),
                false => Err(Error::Full { what: "changes held", max: queue::CHANGES_HELD_MAX }),
            };
        }
        if self.waiting() >= queue::SUBMISSIONS_WAITING_MAX {
            return Err(Error::Full { what: "submissions waiting", max: queue::SUBMISSIONS_WAITING_MAX as u64 });
        }
        if self.waiting_changes() + changes > queue::CHANGES_WAITING_MAX {
            return Err(Error::Full { what: "changes waiting", max: queue::CHANGES_WAITING_MAX });
        }
        Ok(())
    }
}

impl Import {
    /// Journals one more part.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Store`]: then the import is over and nothing of it takes effect.
    pub(crate) async fn add(&mut self, changes: &[Change]) -> Result<()> {
        if self.parts == IMPORT_PARTS_MAX {
            return Err(Error::Full { what: "parts of an import", max: IMPORT_PARTS_MAX.into() });
        }
        self.changes += changes.len() as u64;
        self.intake.queue().admit(self.changes, self.hold)?;
        if self.hold || self.intake.queue().held() > 0 {
            self.paths.extend(paths(changes));
        }
        let part = encode(changes);
        self.body.update(&part);
        let mut entry = journal::Entry::new();
        entry.put_part(self.task, self.parts, part);
        self.parts += 1;
        self.intake.shared.journal.commit(entry).await
    }

    /// Acknowledges the whole import.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub(crate) async fn close(mut self) -> Result<Uuid> {
        if self.parts == 0 {
            return Err(Error::field("changes", "the import is empty, allowed is at least one change"));
        }
        let body = body_digest(std::mem::take(&mut self.body), self.hold);
        let paths = std::mem::take(&mut self.paths);
        let kind = Kind::Import { parts: self.parts, changes: self.changes, hold: self.hold, paths };
        let task = self.intake.ask(self.task, kind, std::mem::take(&mut self.request_id), body).await?;
        self.closed = task == self.task;
        Ok(task)
    }
}

impl Drop for Import {
    /// What was not acknowledged is deleted; if the process dies before that, the next start deletes it.
    fn drop(&mut self) {
        if self.closed || self.parts == 0 {
            return;
        }
        let (journal, task, parts) = (self.intake.shared.journal.clone(), self.task, self.parts);
        tokio::spawn(async move {
            let mut entry = journal::Entry::new();
            (0..parts).for_each(|part| entry.delete_part(task, part));
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
        for request in group {
            match self.known(&request, &accepted) {
                Ok(None) => {
                    self.next_seq += 1;
                    self.write(&mut entry, self.next_seq, &request, now);
                    accepted.push((self.next_seq, request));
                }
                Ok(Some(task)) => answer(request.answer, Ok(task)),
                Err(error) => answer(request.answer, Err(error)),
            }
        }
        if let Err(error) = self.shared.journal.commit(entry).await {
            let fatal = !error.is_transient();
            let message = error.to_string();
            for (_, request) in accepted {
                let error = if fatal { Error::Stopping } else { Error::Full { what: "bytes on the disk", max: 0 } };
                answer(request.answer, Err(error));
            }
            tracing::error!(error = message, "submissions could not be journalled");
            return if fatal { Err(error) } else { Ok(()) };
        }
        self.enqueue(accepted);
        Ok(())
    }

    /// The task that a request was answered with before; within this group too.
    fn known(&self, request: &Request, group: &[(u64, Request)]) -> Result<Option<Uuid>> {
        if request.request_id.is_empty() {
            return Ok(None);
        }
        let earlier = group.iter().find(|(_, other)| other.request_id == request.request_id);
        let row = match earlier {
            Some((_, other)) => Some(RequestRow { task: other.task, body: other.body }),
            None => self.shared.journal.request(&request.request_id)?,
        };
        match row {
            None => Ok(None),
            Some(row) if row.body == request.body => Ok(Some(row.task)),
            Some(row) => {
                Err(Error::RequestIdUsed { request_id: request.request_id.clone(), task: row.task.to_string() })
            }
        }
    }

    fn write(&self, entry: &mut journal::Entry, seq: u64, request: &Request, now: Timestamp) {
        let (kind, parts, changes, hold) = match &request.kind {
            Kind::Submission { part, changes, hold, .. } => {
                entry.put_part(request.task, 0, part.clone());
                (TaskKind::Submission, 1, *changes, *hold)
            }
            Kind::Import { parts, changes, hold, .. } => (TaskKind::Import, *parts, *changes, *hold),
            Kind::Publish => (TaskKind::Publish, 0, 0, false),
        };
        if kind == TaskKind::Publish {
            entry.put_publish(seq, request.task);
        } else {
            let trace = request.trace.clone();
            entry.put_submission(seq, &SubmissionRow { task: request.task, parts, changes, hold, trace });
        }
        let state = if hold { TaskState::Held } else { TaskState::Waiting };
        entry.put_task(
            request.task,
            &TaskRow {
                kind,
                state,
                created: now,
                finished: None,
                changes,
                parts,
                publication: 0,
                counts: Counts::default(),
                error: None,
                request_id: request.request_id.clone(),
            },
        );
        if !request.request_id.is_empty() {
            entry.put_request(&request.request_id, &RequestRow { task: request.task, body: request.body });
        }
    }

    fn enqueue(&self, accepted: Vec<(u64, Request)>) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answers = Vec::new();
        for (seq, request) in accepted {
            let task = request.task;
            match request.kind {
                Kind::Publish => queue.publish(seq, task),
                Kind::Submission { changes, hold, paths, .. } | Kind::Import { changes, hold, paths, .. } => {
                    let entry = queue::Entry { seq, task, changes, paths };
                    if hold { queue.hold(entry) } else { queue.wait(entry) }
                }
            }
            answers.push((request.answer, task));
        }
        self.shared.depth.set(i64::try_from(queue.waiting()).unwrap_or(i64::MAX));
        drop(queue);
        self.shared.waiting.notify_one();
        for (sender, task) in answers {
            answer(sender, Ok(task));
        }
    }
}

impl Request {
    fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Submission { part, .. } => part.len(),
            Kind::Import { .. } | Kind::Publish => 0,
        }
    }
}

/// A caller that went away can ask for its task by request id.
fn answer(sender: oneshot::Sender<Result<Uuid>>, result: Result<Uuid>) {
    let _ = sender.send(result);
}

fn load_queue(journal: &Journal, batch: Option<&BatchRow>) -> Result<(Queue, u64)> {
    let mut queue = Queue::default();
    let mut last = 0;
    let submissions = journal.submissions()?;
    let any_held = submissions.iter().any(|(_, row)| row.hold);
    for (seq, row) in submissions {
        last = last.max(seq);
        if batch.is_some_and(|batch| batch.submissions.contains(&seq)) {
            continue;
        }
        let paths = if any_held { stored_paths(journal, &row)? } else { Vec::new() };
        let entry = queue::Entry { seq, task: row.task, changes: row.changes, paths };
        if row.hold { queue.hold(entry) } else { queue.wait(entry) }
    }
    for (seq, task) in journal.publishes()? {
        last = last.max(seq);
        if !batch.is_some_and(|batch| batch.publishes.contains(&(seq, task))) {
            queue.publish(seq, task);
        }
    }
    Ok((queue, last))
}

fn stored_paths(journal: &Journal, row: &SubmissionRow) -> Result<Vec<PathKey>> {
    let mut all = Vec::new();
    for part in 0..row.parts {
        all.extend(paths(&decode(row.task, part, &journal.part(row.task, part)?)?));
    }
    Ok(all)
}

/// Parts of imports that never ended.
async fn delete_orphans(journal: &Journal) -> Result<()> {
    let known: std::collections::HashSet<Uuid> = journal.submissions()?.into_iter().map(|(_, row)| row.task).collect();
    let mut entry = journal::Entry::new();
    for (task, part) in journal.parts()? {
        if !known.contains(&task) {
            entry.delete_part(task, part);
        }
    }
    journal.commit(entry).await
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
    let unreadable = |message: String| Error::Journal { key: format!("part/{task}/{part}"), message };
    let message = proto::SubmitArtifactsRequest::decode(bytes).map_err(|error| unreadable(error.to_string()))?;
    let changes = message.changes.into_iter().map(rstuf_api::convert::change);
    changes.collect::<Result<_, _>>().map_err(|violation| unreadable(violation.to_string()))
}

fn paths(changes: &[Change]) -> Vec<PathKey> {
    changes.iter().map(|change| path_key(change.path())).collect()
}

fn body_digest(body: sha2::Sha256, hold: bool) -> Sha256 {
    Sha256(body.chain_update([u8::from(hold)]).finalize().into())
}
