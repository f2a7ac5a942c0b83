//! What the targets signer answers: checked before clients could, and written as it comes.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_tuf::{Envelope, Outcomes};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    Error, Repository, Result,
    blocking::blocking,
    handles::Handles,
    journal::rows::{BatchRow, RolePlan, SignedDocument, SignedRoles},
    published::repository::reference,
    publisher::{NamedDocument, file_name},
    signers::{Group, RoleAnswer, TargetsAnswers, wrong},
    tasks::Progress,
};

/// Documents checked and written at a time.
const DOCUMENTS_PER_CHUNK: usize = 64;
/// Bytes of documents checked and written at a time.
const BYTES_PER_CHUNK: usize = 8 * 1024 * 1024;
/// Chunks under way at a time.
const CHUNKS_MAX: usize = 2;
/// Reads the answers of the targets signer, checks each document and writes it.
pub(super) struct Answers<'a> {
    pub(super) handles: &'a Handles,
    pub(super) repository: &'a Arc<Repository>,
    pub(super) batch: &'a BatchRow,
    /// Who is told how far it is.
    pub(super) tasks: Vec<Uuid>,
}

/// What the signer said of one role, in all parts of its answer.
struct Answered {
    plan: RolePlan,
    document: Option<Bytes>,
    outcomes: Outcomes,
}

impl Answers<'_> {
    pub(super) async fn read(&self, mut stream: TargetsAnswers) -> Result<SignedRoles> {
        let mut signed = SignedRoles::default();
        let mut chunks = Chunks { answers: self, running: JoinSet::new(), done: 0 };
        let mut plans = self.batch.roles.iter();
        let mut current: Option<Answered> = None;
        let mut chunk = Vec::new();
        while let Some(part) = stream.next().await? {
            match &mut current {
                Some(answer) if answer.plan.role.as_str() == part.role => answer.extend(part),
                _ => {
                    chunk.extend(current.take());
                    let plan = plans.next().filter(|plan| plan.role.as_str() == part.role);
                    let plan =
                        plan.ok_or_else(|| wrong(Group::Targets, &part.role, "not the role that was expected"))?;
                    let answer = Answered { plan: plan.clone(), document: None, outcomes: Outcomes::default() };
                    current.insert(answer).extend(part);
                }
            }
            let bytes: usize =
                chunk.iter().filter_map(|answer: &Answered| answer.document.as_ref()).map(Bytes::len).sum();
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

impl Answered {
    fn extend(&mut self, part: RoleAnswer) {
        self.outcomes.extend(part.outcomes);
        self.document = part.document.or(self.document.take());
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
        if envelope.version() != plan.revision.version || envelope.expires() != plan.revision.expires {
            return Err(refuse(format!("version {} and its expiry are not what was asked for", envelope.version())));
        }
        let signed = SignedDocument { reference: reference(&plan.role, &envelope), expires: envelope.expires() };
        let named = NamedDocument { name: file_name(&plan.role, plan.revision.version), bytes: bytes.clone() };
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
    async fn start(&mut self, chunk: Vec<Answered>, signed: &mut SignedRoles) -> Result<()> {
        if self.running.len() >= CHUNKS_MAX {
            self.join(signed).await?;
        }
        for answer in &chunk {
            signed.outcomes.insert(answer.plan.role.clone(), answer.outcomes.clone());
        }
        let (repository, publisher) = (self.answers.repository.clone(), self.answers.handles.publisher.clone());
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
        let progress = Progress::of(self.answers.batch);
        let progress = Progress { roles_done: self.done, roles_sent: progress.roles_total, ..progress };
        self.answers.handles.tasks.progress(&self.answers.tasks, progress);
        Ok(())
    }
}
