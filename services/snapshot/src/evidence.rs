//! Taking in the documents of a request: each is digested and verified as it arrives, on all cores, and forgotten but
//! for its facts.
//!
//! Delegated documents are verified under the delegations that the new snapshot will name. A stream should bring a new
//! top-level targets document first; what came before it and does not verify without it waits, up to a limit.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use rstuf_signing::{Budget, Delegator, Error, Result, Trust, blocking, parallel};
use rstuf_tuf::{Envelope, Known, RoleName, Sha256, Targets};
use sha2::Digest as _;
use tokio::task::JoinHandle;

use crate::{
    memory::{Fact, Facts},
    waiting::{Arrived, Waiting},
};

/// Documents verified together, at most.
const CHUNK_DOCUMENTS: usize = 256;
/// Bytes of them; one larger document is a chunk alone.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks under way while the next one gathers; each keeps all cores busy. A document takes many times its bytes while
/// it is verified, so together with `CHUNK_BYTES` this bounds memory.
const CHUNKS_MAX: usize = 1;

/// The top-level targets document of a request.
#[derive(Debug, Clone)]
pub(crate) struct TopLevelTargets {
    pub bytes: Bytes,
    /// None in the flat layout.
    pub delegator: Option<Arc<Delegator>>,
}

/// What a request's documents prove.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Facts of every document that was handed over.
    pub facts: Facts,
    /// The top-level targets document, if it was among them.
    pub targets: Option<TopLevelTargets>,
}

/// Takes documents in. After the first failure it only digests what follows: a request that was answered before is
/// known by its digest, and answered again whatever its documents would prove today.
#[derive(Debug)]
pub(crate) struct Intake {
    trust: Trust,
    known: Arc<Facts>,
    digests: BTreeMap<RoleName, Sha256>,
    list: sha2::Sha256,
    chunk: Vec<Arrived>,
    chunk_bytes: usize,
    running: VecDeque<JoinHandle<Vec<Judged>>>,
    waiting: Waiting,
    evidence: Evidence,
    failure: Option<Error>,
}

/// A document, its digest, and what it proves, if somebody still asks.
type Judged = (Arrived, Sha256, Option<Result<Fact>>);

impl Intake {
    pub(crate) fn new(trust: Trust, known: Arc<Facts>, waiting: Waiting) -> Self {
        Self {
            trust,
            known,
            digests: BTreeMap::new(),
            list: sha2::Sha256::new(),
            chunk: Vec::new(),
            chunk_bytes: 0,
            running: VecDeque::new(),
            waiting,
            evidence: Evidence::default(),
            failure: None,
        }
    }

    /// Takes the next document of the stream.
    pub(crate) async fn push(&mut self, role: RoleName, bytes: Bytes) {
        let arrived = Arrived::new(role, &bytes);
        if arrived.role == RoleName::targets() && self.failure.is_none() {
            self.push_targets(arrived).await;
        } else {
            self.gather(arrived).await;
        }
    }

    async fn gather(&mut self, arrived: Arrived) {
        self.chunk_bytes += arrived.bytes.len();
        self.chunk.push(arrived);
        if self.chunk.len() >= CHUNK_DOCUMENTS || self.chunk_bytes >= CHUNK_BYTES {
            self.dispatch();
            while self.running.len() > CHUNKS_MAX {
                self.collect_one().await;
            }
        }
    }

    /// The new delegations count for all that follows, and for what waited.
    async fn push_targets(&mut self, arrived: Arrived) {
        self.drain().await;
        let trust = self.trust.clone();
        let judge = move || Ok((Sha256::of(&arrived.bytes), verify_targets(&trust, &arrived)));
        let (sha256, verified) = match blocking(judge).await {
            Ok(judged) => judged,
            Err(error) => return self.fail(error),
        };
        self.note(RoleName::targets(), sha256);
        match verified {
            Err(error) => return self.fail(error),
            Ok((fact, targets)) => {
                self.trust.set_delegator(targets.delegator.clone());
                self.evidence.facts.insert(RoleName::targets(), fact);
                self.evidence.targets = Some(targets);
            }
        }
        for (arrived, _) in self.waiting.take() {
            self.gather(arrived).await;
        }
    }

    /// The next one in the list of documents.
    fn note(&mut self, role: RoleName, sha256: Sha256) {
        self.list.update(sha256.as_bytes());
        if self.digests.insert(role.clone(), sha256).is_some() {
            self.fail(Error::evidence(&role, "two documents of one role in one request"));
        }
    }

    fn dispatch(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        if chunk.is_empty() {
            return;
        }
        let (trust, known, asked) = (self.trust.clone(), Arc::clone(&self.known), self.failure.is_none());
        // Facts were found under the delegations of their time: they spare the work only while those stay.
        let reuse = self.evidence.targets.is_none();
        self.running.push_back(tokio::task::spawn_blocking(move || {
            let verify = |arrived: &Arrived, sha256| match known.get(&arrived.role) {
                Some(fact) if reuse && fact.known.sha256 == sha256 => Ok(fact.clone()),
                _ => verify_delegated(&trust, arrived),
            };
            let judged = parallel::map(&chunk, |arrived| {
                let sha256 = arrived.noted.unwrap_or_else(|| Sha256::of(&arrived.bytes));
                (sha256, asked.then(|| verify(arrived, sha256)))
            });
            chunk.into_iter().zip(judged).map(|(arrived, (sha256, fact))| (arrived, sha256, fact)).collect()
        }));
    }

    async fn collect_one(&mut self) {
        let Some(task) = self.running.pop_front() else { return };
        let judged = match task.await {
            Ok(judged) => judged,
            Err(error) => return self.fail(Error::Task { reason: error.to_string() }),
        };
        for (mut arrived, sha256, fact) in judged {
            if arrived.noted.replace(sha256).is_none() {
                self.note(arrived.role.clone(), sha256);
            }
            match fact {
                None => {}
                Some(Ok(fact)) => {
                    self.evidence.facts.insert(arrived.role, fact);
                }
                Some(Err(error)) if self.evidence.targets.is_some() => self.fail(error),
                Some(Err(error)) => {
                    if let Err(error) = self.waiting.add(arrived, error) {
                        self.fail(error);
                    }
                }
            }
        }
    }

    async fn drain(&mut self) {
        self.dispatch();
        while !self.running.is_empty() {
            self.collect_one().await;
        }
    }

    /// The first failure counts.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
        drop(self.waiting.take());
    }

    /// Ends the stream: `(digest of the list of documents, names and digests, what they prove)`.
    pub(crate) async fn finish(mut self) -> (Sha256, BTreeMap<RoleName, Sha256>, Result<Evidence>) {
        self.drain().await;
        if let Some((_, error)) = self.waiting.take().next() {
            self.fail(error);
        }
        let evidence = self.failure.map_or(Ok(self.evidence), Err);
        (Sha256(self.list.finalize().into()), self.digests, evidence)
    }
}

fn verify_targets(trust: &Trust, arrived: &Arrived) -> Result<(Fact, TopLevelTargets)> {
    let refuse = |error| Error::evidence(&arrived.role, error);
    let envelope = Envelope::parse(&arrived.bytes).map_err(refuse)?;
    let keys = trust.verify(&arrived.role, &envelope)?;
    let delegator = Delegator::of(&envelope).map_err(refuse)?.map(Arc::new);
    Ok((
        Fact { known: Known::of(&envelope), keys, budget: Budget::default() },
        TopLevelTargets { bytes: arrived.bytes.clone(), delegator },
    ))
}

fn verify_delegated(trust: &Trust, arrived: &Arrived) -> Result<Fact> {
    let role = &arrived.role;
    if role.top_level().is_some() {
        return Err(Error::wrong_role(role, "a snapshot lists targets and delegated roles only"));
    }
    let refuse = |error| Error::evidence(role, error);
    let envelope = Envelope::parse(&arrived.bytes).map_err(refuse)?;
    let keys = trust.verify(role, &envelope)?;
    let targets: Targets = envelope.decode().map_err(refuse)?;
    if targets.delegations.is_some() {
        return Err(Error::evidence(role, "a delegated role that delegates further is not supported"));
    }
    Ok(Fact { known: Known::of(&envelope), keys, budget: Budget::default() })
}
