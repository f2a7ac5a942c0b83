//! Step 1 of a publication: the targets signer applies the changes of a batch.
//!
//! Natural batching: the next batch is what gathered while the last one was on its way. The whole request is journalled
//! before its first call and never changes afterwards, so that after any crash the very same request is asked again, and
//! the signer answers the very same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rstuf_api::{Reason, Refusal, proto::signer::v1 as proto};
use rstuf_runtime::{Clock, Metrics, Shutdown, names, telemetry};
use rstuf_tuf::{Envelope, RoleName};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    batch::finish,
    batch::plan::{self, Changes},
    blocking::blocking,
    effects::{Effect, Effects},
    intake::Intake,
    journal::{
        Entry, Journal,
        rows::{BatchRow, RolePlan, SignedDocument, SignedRoles, TaskError, outcome_letter},
    },
    lane::LaneHandle,
    pace::Pace,
    published::Published,
    published::repository::reference,
    publisher::{NamedDocument, Publisher, file_name},
    signers::{Group, Signers, wrong},
    tasks::{Ids, Progress, Step, Tasks},
};

/// Documents checked and written at a time.
const DOCUMENTS_PER_CHUNK: usize = 64;
/// Bytes of documents checked and written at a time.
const BYTES_PER_CHUNK: usize = 8 * 1024 * 1024;
/// Chunks under way at a time.
const CHUNKS_MAX: usize = 2;
/// Messages of a signing request made ahead.
const MESSAGES_AHEAD: usize = 4;

/// The task that makes batches, one at a time.
pub(crate) struct Batcher {
    /// What must not be forgotten.
    pub journal: Journal,
    /// What clients see.
    pub published: Published,
    /// What waits.
    pub intake: Intake,
    /// Who watches.
    pub tasks: Tasks,
    /// Who signs.
    pub signers: Signers,
    /// Where documents go.
    pub publisher: Arc<dyn Publisher>,
    /// What makes them visible.
    pub lane: LaneHandle,
    /// How fast it may.
    pub pace: Pace,
    /// The time.
    pub clock: Clock,
    /// Ids of batches.
    pub ids: Arc<Ids>,
    /// Measures, and stops in tests.
    pub effects: Effects,
    /// Ends the task between two steps.
    pub shutdown: Shutdown,
    /// Sizes of batches.
    pub sizes: Sizes,
}

/// Histograms of batch sizes.
pub(crate) struct Sizes {
    submissions: prometheus_client::metrics::histogram::Histogram,
    changes: prometheus_client::metrics::histogram::Histogram,
}

impl Sizes {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            submissions: metrics.counts(names::BATCH_SUBMISSIONS, "submissions in a batch"),
            changes: metrics.counts(names::BATCH_CHANGES, "changes in a batch"),
        }
    }
}

impl Batcher {
    /// Makes batches until the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(crate) async fn run(self) -> Result<()> {
        let repository = tokio::select! {
            repository = self.published.wait_repository() => repository,
            () = self.shutdown.wait() => return Ok(()),
        };
        while !self.shutdown.is_triggered() {
            let batch = match self.journal.batch()? {
                Some(batch) => Some(batch),
                None => self.plan(&repository).await?,
            };
            match batch {
                Some(batch) => {
                    let span = self.span(&batch);
                    self.drive(&repository, batch).instrument(span).await?;
                }
                None => self.wait(&repository).await,
            }
        }
        Ok(())
    }

    /// The batch goes on in the trace of its first submission.
    fn span(&self, batch: &BatchRow) -> tracing::Span {
        let span = tracing::info_span!("batch", batch = %batch.id, submissions = batch.submissions.len());
        let first = batch.submissions.first().and_then(|seq| self.journal.submission(*seq).ok());
        if let Some(trace) = first.and_then(|row| row.trace) {
            telemetry::set_parent(&span, &trace);
        }
        span
    }

    async fn wait(&self, repository: &Repository) {
        let due = self.published.next_due(repository).unwrap_or(jiff::Timestamp::MAX);
        tokio::select! {
            () = self.intake.added() => {}
            () = self.clock.sleep_until(due) => {}
            () = self.shutdown.wait() => {}
        }
    }

    async fn plan(&self, repository: &Arc<Repository>) -> Result<Option<BatchRow>> {
        self.pace.ready().await;
        let selection = self.intake.take();
        let seqs: Vec<u64> = selection.submissions.iter().map(|entry| entry.seq).collect();
        let (journal, published) = (self.journal.clone(), self.published.clone());
        let (repository, now) = (repository.clone(), self.clock.now());
        let id = self.ids.next(now);
        let changes: u64 = selection.submissions.iter().map(|entry| entry.changes).sum();
        let made = blocking(move || {
            let changes = Changes::new(&journal, repository, &seqs)?;
            plan::batch(&selection, &changes, &published, id, now)
        });
        let Some(batch) = made.await? else { return Ok(None) };
        self.sizes.submissions.observe(batch.submissions.len() as f64);
        self.sizes.changes.observe(changes as f64);
        let mut entry = Entry::new();
        entry.set_batch(Some(&batch));
        self.effects.run(Effect::PlanBatch, self.commit(entry)).await?;
        Ok(Some(batch))
    }

    async fn drive(&self, repository: &Arc<Repository>, mut batch: BatchRow) -> Result<()> {
        let journal = self.journal.clone();
        let (seqs, shared) = (batch.submissions.clone(), repository.clone());
        let changes = blocking(move || Changes::new(&journal, shared, &seqs)).await?;
        if batch.signed.is_none() {
            let Some(signed) = self.sign(&changes, repository, &batch).await? else { return Ok(()) };
            batch.signed = Some(signed);
            let mut entry = Entry::new();
            entry.set_batch(Some(&batch));
            self.effects.run(Effect::JournalTargets, self.commit(entry)).await?;
        }
        self.lane.publish().await
    }

    /// Asks until there is an answer; none if the batch has to be planned again.
    async fn sign(
        &self,
        changes: &Changes,
        repository: &Arc<Repository>,
        batch: &BatchRow,
    ) -> Result<Option<SignedRoles>> {
        let mut backoff = Backoff::new(self.shutdown.clone());
        loop {
            let asked = self.effects.run(Effect::SignTargets, self.ask(changes, repository, batch)).await;
            match asked {
                Ok(signed) => {
                    self.effects.run(Effect::WriteTargets, self.publisher.barrier()).await?;
                    return Ok(Some(signed));
                }
                Err(Error::SignerRefused { reason: Some(reason), message, .. }) => {
                    tracing::warn!(reason = %reason.name, message, "the targets signer refused");
                    if self.settle(changes, batch, &reason, message).await? {
                        return Ok(None);
                    }
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "targets are not signed yet");
                }
                Err(error) => return Err(error),
            }
            if !backoff.wait().await {
                return Ok(None);
            }
        }
    }

    /// Acts on a refusal. Answers whether the batch is another one now, or none: nothing of it was signed.
    async fn settle(&self, changes: &Changes, batch: &BatchRow, reason: &Reason, message: String) -> Result<bool> {
        match reason.name {
            Refusal::DocumentTooLarge => {
                let at_fault = submissions_of(reason, batch.submissions.len());
                if at_fault.is_empty() {
                    return Ok(false);
                }
                let error = TaskError { reason: reason.name.to_string(), message };
                self.drop_batch(changes, batch, &at_fault, error).await?;
                Ok(true)
            }
            // Journalled before a long stop, and never signed. Any other expiry that a signer refuses is a matter of clocks or
            // of settings, which another expiry would not mend.
            Refusal::ExpiresOutOfBounds if batch.roles.iter().any(|plan| plan.expires <= self.clock.now()) => {
                let (id, now) = (self.ids.next(self.clock.now()), self.clock.now());
                let mut entry = Entry::new();
                entry.set_batch(Some(&plan::with_new_expiries(changes.repository(), batch, id, now)));
                self.commit(entry).await?;
                Ok(true)
            }
            Refusal::BaseBehind => {
                self.load(reason).await?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Gives the batch up; the submissions at fault fail, the others wait again.
    async fn drop_batch(
        &self,
        changes: &Changes,
        batch: &BatchRow,
        at_fault: &BTreeSet<usize>,
        error: TaskError,
    ) -> Result<()> {
        let mut entry = Entry::new();
        entry.set_batch(None);
        finish::fail(&self.journal, &mut entry, changes, batch, at_fault, &error, self.clock.now())?;
        // Read before the commit deletes what is at fault.
        let (all, planned, without) = (changes.clone(), batch.clone(), at_fault.clone());
        let rest = blocking(move || finish::rest(&all, &planned, &without)).await?;
        self.commit(entry).await?;
        self.tasks.count_ended("failed", at_fault.len());
        // Watchers of the others see that they wait again.
        self.tasks.settled(&finish::tasks(changes, batch));
        self.intake.put_back(rest);
        Ok(())
    }

    /// The signer's state is older than what is published: hand it the proof.
    async fn load(&self, reason: &Reason) -> Result<()> {
        let role = reason.metadata.get("role").and_then(|role| role.parse::<RoleName>().ok());
        let Some(role) = role else { return Ok(()) };
        if let Some(row) = self.published.role(&role) {
            let envelope = self.published.document(&row.reference(&role)).await?;
            let document = rstuf_api::proto::metadata::v1::Document { role: role.to_string(), envelope };
            if let Err(error) = self.signers.load(Group::Targets, document).await {
                tracing::warn!(%role, error = &error as &dyn std::error::Error, "the published document was not taken");
            }
        }
        Ok(())
    }

    async fn ask(&self, changes: &Changes, repository: &Arc<Repository>, batch: &BatchRow) -> Result<SignedRoles> {
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let (all, plan) = (changes.clone(), batch.clone());
        let feeder = blocking(move || all.request(&plan, |message| sender.blocking_send(message).is_ok()));
        let feeder = tokio::spawn(feeder);
        let answers = Answers { batcher: self, repository, batch, tasks: finish::tasks(changes, batch) };
        let signed = async {
            if batch.roles.is_empty() {
                return Ok(SignedRoles { documents: Vec::new(), outcomes: BTreeMap::new() });
            }
            let stream = self.signers.sign_targets(ReceiverStream::new(receiver)).await?;
            answers.read(stream).await
        };
        let signed = signed.await;
        let counts = feeder.await.map_err(|_| Error::Stopping)??;
        let mut signed = signed?;
        // Found out now, not when clients have seen it and its tasks can't end.
        for plan in &batch.roles {
            let outcomes = signed.outcomes.get(&plan.role).map_or(0, String::len);
            let changes = counts.get(&plan.role).copied().unwrap_or(0);
            if outcomes as u64 != changes {
                let message = format!("{outcomes} outcomes for {changes} changes");
                return Err(wrong(Group::Targets, plan.role.as_str(), message));
            }
        }
        if let Some(applied) = &batch.applied {
            signed.outcomes.clone_from(applied);
        }
        Ok(signed)
    }

    async fn commit(&self, entry: Entry) -> Result<()> {
        self.journal.commit_patiently(entry, &self.shutdown).await
    }
}

/// Reads the answers of the targets signer, checks each document and writes it.
struct Answers<'a> {
    batcher: &'a Batcher,
    repository: &'a Arc<Repository>,
    batch: &'a BatchRow,
    tasks: Vec<Uuid>,
}

/// What the signer said of one role.
struct RoleAnswer {
    plan: RolePlan,
    document: Option<bytes::Bytes>,
    outcomes: String,
}

impl Answers<'_> {
    async fn read(&self, mut stream: crate::signers::TargetsAnswers) -> Result<SignedRoles> {
        let mut signed = SignedRoles { documents: Vec::new(), outcomes: BTreeMap::new() };
        let mut chunks = Chunks { answers: self, running: JoinSet::new(), done: 0 };
        let mut plans = self.batch.roles.iter();
        let mut current: Option<RoleAnswer> = None;
        let mut chunk = Vec::new();
        while let Some(part) = stream.next().await? {
            match &mut current {
                Some(answer) if answer.plan.role.as_str() == part.role => answer.extend(part)?,
                _ => {
                    chunk.extend(current.take());
                    let plan = plans.next().filter(|plan| plan.role.as_str() == part.role);
                    let plan =
                        plan.ok_or_else(|| wrong(Group::Targets, &part.role, "not the role that was expected"))?;
                    let answer = RoleAnswer { plan: plan.clone(), document: None, outcomes: String::new() };
                    current.insert(answer).extend(part)?;
                }
            }
            let bytes: usize =
                chunk.iter().filter_map(|answer: &RoleAnswer| answer.document.as_ref()).map(bytes::Bytes::len).sum();
            if chunk.len() >= DOCUMENTS_PER_CHUNK || bytes >= BYTES_PER_CHUNK {
                chunks.start(std::mem::take(&mut chunk), &mut signed).await?;
            }
        }
        chunk.extend(current);
        chunks.start(chunk, &mut signed).await?;
        while !chunks.running.is_empty() {
            chunks.join(&mut signed).await?;
        }
        if let Some(missing) = plans.next() {
            return Err(wrong(Group::Targets, missing.role.as_str(), "the answer ends before it"));
        }
        signed.documents.sort_by(|one, other| one.reference.role.cmp(&other.reference.role));
        Ok(signed)
    }
}

impl RoleAnswer {
    fn extend(&mut self, part: proto::SignTargetsResponse) -> Result<()> {
        for outcome in part.outcomes() {
            let outcome = outcome.checked().ok_or_else(|| wrong(Group::Targets, &part.role, "no outcome"))?;
            self.outcomes.push(outcome_letter(outcome));
        }
        if let Some(document) = part.document {
            self.document = Some(document.envelope);
        }
        Ok(())
    }

    /// Checks that the document is what was asked for and that clients will accept its signatures.
    fn check(&self, repository: &Repository) -> Result<Option<(SignedDocument, NamedDocument)>> {
        let plan = &self.plan;
        let refuse = |message: String| wrong(Group::Targets, plan.role.as_str(), message);
        let Some(bytes) = &self.document else {
            return if plan.renew {
                Err(refuse("no document, though it was to be renewed".to_owned()))
            } else {
                Ok(None)
            };
        };
        let envelope = Envelope::parse(bytes).map_err(|error| refuse(error.to_string()))?;
        repository.verify(&plan.role, &envelope).map_err(refuse)?;
        if envelope.version() != plan.version || envelope.expires() != plan.expires {
            return Err(refuse(format!("version {} and its expiry are not what was asked for", envelope.version())));
        }
        let signed = SignedDocument { reference: reference(&plan.role, &envelope), expires: envelope.expires() };
        let named = NamedDocument { name: file_name(&plan.role, plan.version), bytes: bytes.clone() };
        Ok(Some((signed, named)))
    }
}

/// Chunks of answers being checked and written, a few at a time.
struct Chunks<'a> {
    answers: &'a Answers<'a>,
    running: JoinSet<Result<(u32, Vec<SignedDocument>)>>,
    done: u32,
}

impl Chunks<'_> {
    async fn start(&mut self, chunk: Vec<RoleAnswer>, signed: &mut SignedRoles) -> Result<()> {
        if self.running.len() >= CHUNKS_MAX {
            self.join(signed).await?;
        }
        for answer in &chunk {
            signed.outcomes.insert(answer.plan.role.clone(), answer.outcomes.clone());
        }
        let (repository, publisher) = (self.answers.repository.clone(), self.answers.batcher.publisher.clone());
        let count = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.running.spawn(async move {
            let check = move || chunk.iter().filter_map(|answer| answer.check(&repository).transpose()).collect();
            let checked: Vec<(SignedDocument, NamedDocument)> = blocking(check).await?;
            let (signed, named) = checked.into_iter().unzip();
            publisher.write(named).await?;
            Ok((count, signed))
        });
        Ok(())
    }

    async fn join(&mut self, signed: &mut SignedRoles) -> Result<()> {
        let Some(joined) = self.running.join_next().await else { return Ok(()) };
        let (count, documents) = joined.map_err(|_| Error::Stopping)??;
        signed.documents.extend(documents);
        self.done += count;
        let roles_total = u32::try_from(self.answers.batch.roles.len()).unwrap_or(u32::MAX);
        let progress = Progress { step: Step::Targets, roles_done: self.done, roles_total };
        self.answers.batcher.tasks.progress(&self.answers.tasks, progress);
        Ok(())
    }
}

/// Indices of the submissions that a refusal names.
fn submissions_of(reason: &Reason, count: usize) -> BTreeSet<usize> {
    let named = reason.metadata.get("submissions").map(String::as_str).unwrap_or_default();
    named.split(',').filter_map(|number| number.trim().parse().ok()).filter(|index| *index < count).collect()
}
