//! Effects 2 to 5 of a publication: snapshot, timestamp, publish, finish.
//!
//! All that raises the versions of snapshot and timestamp goes through this one lane: batches, and the renewals that keep a
//! quiet repository fresh. A batch that is stuck at the targets signer therefore can't stop a renewal.

mod check;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::{
    DocumentRef, Refusal,
    proto::{metadata::v1::Document, signer::v1 as proto},
};
use rstuf_runtime::{Clock, Shutdown, telemetry};
use rstuf_tuf::RoleName;
use sha2::Digest as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument as _;

use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    batch::finish::{self, Completion},
    batch::plan::{self, Changes, next_version},
    blocking::blocking,
    effects::{Effect, Effects},
    journal::{
        Entry, Journal,
        rows::{BatchRow, LaneRow, PublicationRow, Revision, RolePlan, RoleRow, SignedDocument},
    },
    pace::Pace,
    published::Published,
    published::index::Index,
    published::retention::Retention,
    publisher::{NamedDocument, Publisher, file_name},
    signers::{self, Group, Signers},
    tasks::{Ids, Progress, Step, Tasks},
};

/// What a file takes on the disk at least: many small documents cost more than their bytes.
const BLOCK_BYTES: u64 = 4_096;

/// Documents on their way to the snapshot signer.
const DOCUMENTS_AHEAD: usize = 64;

/// For the batcher: hands over the batch under way.
#[derive(Clone)]
pub(crate) struct LaneHandle {
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

impl LaneHandle {
    /// A handle, and the end that the lane listens at.
    pub(crate) fn new() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (requests, receiver) = mpsc::channel(1);
        (Self { requests }, receiver)
    }

    /// Publishes the batch that is journalled as signed; answers when it is finished, or at once if it is already.
    ///
    /// # Errors
    /// [`Error::Stopping`] when the lane stopped.
    pub(crate) async fn publish(&self) -> Result<()> {
        let (done, finished) = oneshot::channel();
        self.requests.send(done).await.map_err(|_| Error::Stopping)?;
        finished.await.map_err(|_| Error::Stopping)
    }
}

/// The task that owns snapshot and timestamp.
pub(crate) struct Lane {
    /// What must not be forgotten.
    pub journal: Journal,
    /// What clients see.
    pub published: Published,
    /// Who watches.
    pub tasks: Tasks,
    /// Who signs.
    pub signers: Signers,
    /// Where documents go.
    pub publisher: Arc<dyn Publisher>,
    /// The list of artifacts.
    pub index: Index,
    /// What is deleted, and when.
    pub retention: Retention,
    /// How fast publications may follow each other.
    pub pace: Pace,
    /// The time.
    pub clock: Clock,
    /// Ids of runs.
    pub ids: Arc<Ids>,
    /// Measures, and stops in tests.
    pub effects: Effects,
    /// Ends the task between two steps.
    pub shutdown: Shutdown,
    /// Publications made visible.
    pub publications: prometheus_client::metrics::counter::Counter,
    /// From the batcher.
    pub requests: mpsc::Receiver<oneshot::Sender<()>>,
}

/// What a run publishes.
struct Run {
    row: LaneRow,
    batch: Option<(BatchRow, Changes)>,
    tasks: Vec<uuid::Uuid>,
}

impl Lane {
    /// Publishes until the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(crate) async fn run(mut self) -> Result<()> {
        let repository = tokio::select! {
            repository = self.published.wait_repository() => repository,
            () = self.shutdown.wait() => return Ok(()),
        };
        if let Some(row) = self.journal.lane()? {
            self.drive(&repository, row).await?;
        }
        self.index.caught_up();
        while !self.shutdown.is_triggered() {
            let due = self.next_due(&repository);
            tokio::select! {
                request = self.requests.recv() => {
                    let Some(done) = request else { return Ok(()) };
                    self.publish_batch(&repository).await?;
                    if !self.shutdown.is_triggered() {
                        // The batcher waits for this; if it stopped meanwhile, nobody does.
                        let _ = done.send(());
                    }
                }
                () = self.clock.sleep_until(due) => self.renew(&repository).await?,
                () = self.shutdown.wait() => {}
            }
        }
        Ok(())
    }

    /// When snapshot or timestamp have to be renewed; never before the first publication.
    fn next_due(&self, repository: &Repository) -> Timestamp {
        let due = |role: RoleName| {
            self.published.role(&role).map_or(Timestamp::MAX, |row| repository.renewal_due(&role, row.expires))
        };
        due(RoleName::snapshot()).min(due(RoleName::timestamp()))
    }

    async fn publish_batch(&self, repository: &Arc<Repository>) -> Result<()> {
        let Some(batch) = self.journal.batch()? else { return Ok(()) };
        let Some(signed) = &batch.signed else { return Ok(()) };
        if signed.documents.is_empty() && batch.offline.is_empty() {
            return self.finish_unchanged(repository, batch).await;
        }
        let row = LaneRow {
            id: self.ids.next(self.clock.now()),
            batch: true,
            snapshot: Some(self.next_revision(repository, RoleName::snapshot(), None)?),
            snapshot_document: None,
            timestamp: None,
        };
        self.journal_row(Effect::PlanSnapshot, &row).await?;
        self.drive(repository, row).await
    }

    async fn renew(&self, repository: &Arc<Repository>) -> Result<()> {
        let now = self.clock.now();
        let published = self.published.role(&RoleName::snapshot());
        let snapshot_due =
            published.is_none_or(|row| repository.renewal_due(&RoleName::snapshot(), row.expires) <= now);
        let mut row =
            LaneRow { id: self.ids.next(now), batch: false, snapshot: None, snapshot_document: None, timestamp: None };
        if snapshot_due {
            row.snapshot = Some(self.next_revision(repository, RoleName::snapshot(), None)?);
            self.journal_row(Effect::PlanSnapshot, &row).await?;
        } else {
            row.timestamp = Some(self.next_revision(repository, RoleName::timestamp(), None)?);
            self.journal_row(Effect::PlanTimestamp, &row).await?;
        }
        self.drive(repository, row).await
    }

    /// The version after `base`, or after the published one.
    fn next_revision(&self, repository: &Repository, role: RoleName, base: Option<DocumentRef>) -> Result<Revision> {
        let base = base.or_else(|| self.published.role(&role).map(|row| row.reference(&role)));
        let version = next_version(&role, base.as_ref().map(|base| base.version))?;
        Ok(Revision { base, version, expires: repository.expiry(&role, self.clock.now()) })
    }

    async fn journal_row(&self, effect: Effect, row: &LaneRow) -> Result<()> {
        let mut entry = Entry::new();
        entry.set_lane(Some(row));
        self.effects.run(effect, self.journal.commit_patiently(entry, &self.shutdown)).await
    }

    /// Takes a run from wherever it is to its end. Ends early only at a shutdown, or when a batch has to go back.
    async fn drive(&self, repository: &Arc<Repository>, row: LaneRow) -> Result<()> {
        let span = tracing::info_span!("publication", run = %row.id);
        let mut run = self.load(repository, row).await?;
        if let Some(trace) = run.trace() {
            telemetry::set_parent(&span, trace);
        }
        let mut backoff = Backoff::new(self.shutdown.clone());
        loop {
            match self.advance(repository, &run).instrument(span.clone()).await {
                Ok(Next::Row(row)) => run.row = *row,
                Ok(Next::Ended) => return Ok(()),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the publication waits");
                    if !backoff.wait().await {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn load(&self, repository: &Arc<Repository>, row: LaneRow) -> Result<Run> {
        let batch = match (row.batch, self.journal.batch()?) {
            (true, Some(batch)) => {
                let (journal, repository, seqs) = (self.journal.clone(), repository.clone(), batch.submissions.clone());
                let changes = blocking(move || Changes::new(&journal, repository, &seqs)).await?;
                Some((batch, changes))
            }
            _ => None,
        };
        let tasks = batch.as_ref().map(|(batch, changes)| finish::tasks(changes, batch)).unwrap_or_default();
        Ok(Run { row, batch, tasks })
    }

    async fn advance(&self, repository: &Arc<Repository>, run: &Run) -> Result<Next> {
        match (&run.row.snapshot, &run.row.snapshot_document, &run.row.timestamp) {
            (Some(revision), None, _) => self.snapshot(repository, run, revision).await,
            (_, _, Some(revision)) => self.timestamp(repository, run, revision).await,
            (_, _, None) => Err(Error::Journal { key: "lane".to_owned(), message: "no step is planned".to_owned() }),
        }
    }

    async fn snapshot(&self, repository: &Arc<Repository>, run: &Run, revision: &Revision) -> Result<Next> {
        self.progress(run, Step::Snapshot);
        // A snapshot that takes the place of an unpublished one says all of this already.
        let published = self.published.role(&RoleName::snapshot()).map(|row| row.reference(&RoleName::snapshot()));
        let documents = if revision.base == published { run.documents() } else { Vec::new() };
        let asked = self.ask_snapshot(repository, &run.row, revision, documents);
        let bytes = match self.effects.run(Effect::SignSnapshot, asked).await {
            Ok(bytes) => bytes,
            Err(error) => return self.settle_snapshot(repository, run, revision, error).await,
        };
        let document = check::snapshot(repository, revision, &run.documents(), &bytes)?;
        let write = async {
            let name = file_name(&document.reference.role, document.reference.version);
            self.publisher.write(vec![NamedDocument { name, bytes }]).await?;
            self.publisher.barrier().await
        };
        self.effects.run(Effect::WriteSnapshot, write).await?;
        let row = LaneRow {
            snapshot_document: Some(document),
            timestamp: Some(self.next_revision(repository, RoleName::timestamp(), None)?),
            ..run.row.clone()
        };
        self.journal_row(Effect::PlanTimestamp, &row).await?;
        Ok(Next::Row(row.into()))
    }

    async fn ask_snapshot(
        &self,
        repository: &Repository,
        row: &LaneRow,
        revision: &Revision,
        documents: Vec<SignedDocument>,
    ) -> Result<Bytes> {
        use proto::sign_snapshot_request::Part;
        let header = proto::SnapshotHeader {
            header: Some(signers::header(&repository.id, row.id)),
            revision: Some(plan::revision(revision.base.as_ref(), revision.version, revision.expires)),
            hash_delegated_roles: repository.hash_delegated_roles(),
        };
        let digests = documents.iter().map(|document| document.reference.sha256);
        let list = digests.fold(sha2::Sha256::new(), |list, digest| list.chain_update(digest.as_bytes()));
        let end = proto::EvidenceEnd { documents_sha256: Bytes::copy_from_slice(&list.finalize()) };
        let (sender, receiver) = mpsc::channel(DOCUMENTS_AHEAD);
        let published = self.published.clone();
        let feed = async move {
            let part = |part| proto::SignSnapshotRequest { part: Some(part) };
            // A signer that hangs up says why in its answer.
            if sender.send(part(Part::Header(header))).await.is_err() {
                return Ok(());
            }
            for document in documents {
                let envelope = published.document(&document.reference).await?;
                let document = Document { role: document.reference.role.to_string(), envelope };
                if sender.send(part(Part::Document(document))).await.is_err() {
                    return Ok(());
                }
            }
            let _ = sender.send(part(Part::End(end))).await;
            Ok::<_, Error>(())
        };
        let (fed, answer) = tokio::join!(feed, self.signers.sign_snapshot(ReceiverStream::new(receiver)));
        fed?;
        answer
    }

    async fn settle_snapshot(
        &self,
        repository: &Repository,
        run: &Run,
        revision: &Revision,
        error: Error,
    ) -> Result<Next> {
        let now = self.clock.now();
        match refusal(&error) {
            // Journalled before a long stop, and never signed. Any other expiry that a signer refuses is a matter of clocks or
            // of settings, which another expiry would not mend.
            Some(Refusal::ExpiresOutOfBounds) if revision.expires <= now => {
                let expires = repository.expiry(&RoleName::snapshot(), now);
                let row = LaneRow { snapshot: Some(Revision { expires, ..revision.clone() }), ..run.row.clone() };
                self.journal_row(Effect::PlanSnapshot, &row).await?;
                Ok(Next::Row(row.into()))
            }
            Some(Refusal::EvidenceInvalid) if run.signed().any(|document| document.expires <= now) => {
                self.send_back(repository, run).await
            }
            _ => {
                self.hand_over(Group::Snapshot, &error).await?;
                Err(error)
            }
        }
    }

    /// The batch's documents expired before they were published: the batcher has them renewed first.
    async fn send_back(&self, repository: &Repository, run: &Run) -> Result<Next> {
        let Some((batch, _)) = &run.batch else { return Ok(Next::Ended) };
        let Some(signed) = &batch.signed else { return Ok(Next::Ended) };
        let renewal = |document: &SignedDocument| {
            let role = document.reference.role.clone();
            Ok(RolePlan {
                base: Some(document.reference.clone()),
                version: next_version(&role, Some(document.reference.version))?,
                expires: repository.expiry(&role, self.clock.now()),
                renew: true,
                role,
            })
        };
        let roles = signed.documents.iter().map(renewal).collect::<Result<_>>()?;
        let applied = Some(signed.outcomes.clone());
        let mut entry = Entry::new();
        entry.set_batch(Some(&BatchRow { id: run.row.id, roles, applied, signed: None, ..batch.clone() }));
        entry.set_lane(None);
        self.journal.commit_patiently(entry, &self.shutdown).await?;
        Ok(Next::Ended)
    }

    async fn timestamp(&self, repository: &Arc<Repository>, run: &Run, revision: &Revision) -> Result<Next> {
        self.progress(run, Step::Timestamp);
        let snapshot = match &run.row.snapshot_document {
            Some(document) => document.clone(),
            None => self.published_snapshot()?,
        };
        let envelope = self.published.document(&snapshot.reference).await?;
        let request = proto::SignTimestampRequest {
            header: Some(signers::header(&repository.id, run.row.id)),
            revision: Some(plan::revision(revision.base.as_ref(), revision.version, revision.expires)),
            snapshot: Some(Document { role: RoleName::snapshot().to_string(), envelope }),
        };
        let bytes = match self.effects.run(Effect::SignTimestamp, self.signers.sign_timestamp(request)).await {
            Ok(bytes) => bytes,
            Err(error) => return self.settle_timestamp(repository, run, revision, &snapshot, error).await,
        };
        let document = check::timestamp(repository, revision, &snapshot.reference, &bytes)?;
        self.progress(run, Step::Publish);
        self.effects.run(Effect::ReplaceTimestamp, self.publisher.replace_timestamp(bytes)).await?;
        self.finish(run, document).await?;
        Ok(Next::Ended)
    }

    fn published_snapshot(&self) -> Result<SignedDocument> {
        let role = RoleName::snapshot();
        let row = self.published.role(&role);
        let row =
            row.ok_or_else(|| Error::Journal { key: "role/snapshot".to_owned(), message: "missing".to_owned() })?;
        Ok(SignedDocument { reference: row.reference(&role), expires: row.expires })
    }

    async fn settle_timestamp(
        &self,
        repository: &Repository,
        run: &Run,
        revision: &Revision,
        snapshot: &SignedDocument,
        error: Error,
    ) -> Result<Next> {
        let now = self.clock.now();
        match refusal(&error) {
            Some(Refusal::ExpiresOutOfBounds) if revision.expires <= now => {
                let expires = repository.expiry(&RoleName::timestamp(), now);
                let row = LaneRow { timestamp: Some(Revision { expires, ..revision.clone() }), ..run.row.clone() };
                self.journal_row(Effect::PlanTimestamp, &row).await?;
                Ok(Next::Row(row.into()))
            }
            // The snapshot expired while the run stood still: another one takes its place.
            Some(Refusal::EvidenceInvalid) if snapshot.expires <= now => {
                let next = self.next_revision(repository, RoleName::snapshot(), Some(snapshot.reference.clone()))?;
                let row = LaneRow { snapshot: Some(next), snapshot_document: None, timestamp: None, ..run.row.clone() };
                self.journal_row(Effect::PlanSnapshot, &row).await?;
                Ok(Next::Row(row.into()))
            }
            _ => {
                self.hand_over(Group::Timestamp, &error).await?;
                Err(error)
            }
        }
    }

    /// A signer that is behind what is published is given the proof.
    async fn hand_over(&self, group: Group, error: &Error) -> Result<()> {
        let Error::SignerRefused { reason: Some(refused), .. } = error else { return Ok(()) };
        let role = refused.metadata.get("role").and_then(|role| role.parse::<RoleName>().ok());
        let (Refusal::BaseBehind, Some(role)) = (refused.name, role) else { return Ok(()) };
        let envelope = if role == RoleName::timestamp() {
            self.publisher.read(crate::publisher::TIMESTAMP_FILE).await?
        } else {
            match self.published.role(&role) {
                Some(row) => Some(self.published.document(&row.reference(&role)).await?),
                None => None,
            }
        };
        let Some(envelope) = envelope else { return Ok(()) };
        let document = Document { role: role.to_string(), envelope };
        if let Err(error) = self.signers.load(group, document).await {
            tracing::warn!(%role, error = &error as &dyn std::error::Error, "the published document was not taken");
        }
        Ok(())
    }

    /// Clients see the publication: say so in the journal, to the tasks, to the list.
    async fn finish(&self, run: &Run, timestamp: SignedDocument) -> Result<()> {
        let now = self.clock.now();
        let publication = PublicationRow { number: self.published.publication().number + 1, at: now };
        let mut documents = run.documents();
        documents.extend(run.row.snapshot_document.clone());
        let lengths = documents.iter().map(|document| document.reference.length);
        let written = lengths.map(|length| length.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES)).sum();
        documents.push(timestamp);
        let mut entry = Entry::new();
        entry.set_lane(None);
        entry.put_publication(&publication);
        let roles: Vec<(RoleName, RoleRow)> = documents.into_iter().map(role_row).collect();
        roles.iter().for_each(|(role, row)| entry.put_role(role, row));
        let entry = self.complete(run, entry, publication.number).await?;
        // Clients see it already, so readers may; whoever sees the task done must. Files go only when the journal names them no more.
        let superseded = Retention::superseded(&self.published, &roles);
        self.published.advance(publication, roles);
        self.effects.run(Effect::Finish, self.journal.commit_patiently(entry, &self.shutdown)).await?;
        self.retention.push(superseded, now);
        self.tasks.count_ended("done", run.submissions());
        self.tasks.settled(&run.tasks);
        self.pace.wrote(written);
        self.publications.inc();
        tracing::info!(publication = publication.number, tasks = run.tasks.len(), "published");
        Ok(())
    }

    async fn complete(&self, run: &Run, mut entry: Entry, publication: u64) -> Result<Entry> {
        let Some((batch, changes)) = run.batch.clone() else { return Ok(entry) };
        let (journal, index, now) = (self.journal.clone(), self.index.clone(), self.clock.now());
        let shutdown = self.shutdown.clone();
        blocking(move || {
            let signed = batch.signed.clone().unwrap_or_default();
            let completion = Completion {
                journal: &journal,
                changes: &changes,
                batch: &batch,
                signed: &signed,
                publication,
                now,
                index: &index,
                shutdown: &shutdown,
            };
            completion.write(&mut entry)?;
            Ok(entry)
        })
        .await
    }

    /// Nothing changed, so there is nothing to publish: the repository says already what was asked for.
    async fn finish_unchanged(&self, repository: &Arc<Repository>, batch: BatchRow) -> Result<()> {
        let (journal, shared, seqs) = (self.journal.clone(), repository.clone(), batch.submissions.clone());
        let changes = blocking(move || Changes::new(&journal, shared, &seqs)).await?;
        let tasks = finish::tasks(&changes, &batch);
        let row = LaneRow { id: batch.id, batch: true, snapshot: None, snapshot_document: None, timestamp: None };
        let run = Run { row, batch: Some((batch, changes)), tasks };
        let entry = self.complete(&run, Entry::new(), 0).await?;
        self.effects.run(Effect::Finish, self.journal.commit_patiently(entry, &self.shutdown)).await?;
        self.tasks.count_ended("done", run.submissions());
        self.tasks.settled(&run.tasks);
        Ok(())
    }

    fn progress(&self, run: &Run, step: Step) {
        self.tasks.progress(&run.tasks, Progress { step, roles_done: 0, roles_total: 1 });
    }
}

/// How a run goes on.
enum Next {
    /// With this row, which is journalled.
    Row(Box<LaneRow>),
    /// Not at all: it is finished, or its batch goes back.
    Ended,
}

impl Run {
    fn submissions(&self) -> usize {
        self.batch.as_ref().map_or(0, |(batch, _)| batch.submissions.len())
    }

    /// It goes on in the trace of the batch's first submission.
    fn trace(&self) -> Option<&str> {
        let (_, changes) = self.batch.as_ref()?;
        changes.submissions().first()?.trace.as_deref()
    }

    /// The batch's documents: signed online and offline.
    fn documents(&self) -> Vec<SignedDocument> {
        let Some((batch, _)) = &self.batch else { return Vec::new() };
        batch.offline.iter().chain(self.signed()).cloned().collect()
    }

    /// The batch's documents that were signed online, which can therefore be renewed.
    fn signed(&self) -> impl Iterator<Item = &SignedDocument> {
        let signed = self.batch.iter().filter_map(|(batch, _)| batch.signed.as_ref());
        signed.flat_map(|signed| signed.documents.iter())
    }
}

fn role_row(document: SignedDocument) -> (RoleName, RoleRow) {
    let DocumentRef { role, version, sha256, length } = document.reference;
    (role, RoleRow { version, sha256, length, expires: document.expires })
}

fn refusal(error: &Error) -> Option<Refusal> {
    match error {
        Error::SignerRefused { reason: Some(reason), .. } => Some(reason.name),
        _ => None,
    }
}
