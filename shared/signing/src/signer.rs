//! The core of every signer: nothing leaves before it is durable, and nothing is signed but by the rules.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::signing::Header;
use rstuf_keys::KeySource;
use rstuf_runtime::{Clock, Reading};
use rstuf_store::{Batch, Store};
use rstuf_tuf::{RoleName, Sha256, TopLevel, Version};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::{
    Error, Result, Trust,
    answer::{Answer, answer_of},
    config::Settings,
    detach::{blocking, detached},
    metrics::Metrics,
    rows::{self, AnswerRow, RoleAnswerRow, RoleState},
    rules,
    session::{Body, Built, Made, Remember, Sealed, Session},
    state::State,
    times::Times,
};

/// One signer: one key, one state directory. Cheap to clone; clones are one signer.
///
/// Signing requests are answered one at a time. `M` is what this kind of signer remembers beside what all do.
#[derive(Debug)]
pub struct Signer<M> {
    pub(crate) inner: Arc<Inner<M>>,
}

impl<M> Clone for Signer<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
pub(crate) struct Inner<M> {
    pub(crate) group: TopLevel,
    pub(crate) key: Arc<dyn KeySource>,
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    state: Arc<Mutex<State<M>>>,
    /// What stands in the state too, for those who must not wait for a signing.
    pinned: watch::Sender<Option<(Sha256, Version)>>,
    /// As the state's, for those who must not wait for it.
    pub(crate) halted: OnceLock<String>,
    /// What is known of the time; changed only while the state is locked.
    pub(crate) times: watch::Sender<Times>,
}

impl<M: Send + Sync + 'static> Signer<M> {
    /// A signer over a checked state, and what is known of the time.
    pub(crate) fn new(
        group: TopLevel,
        key: Arc<dyn KeySource>,
        store: Store,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
        (state, times): (State<M>, Times),
    ) -> Self {
        let (pinned, times) = (watch::Sender::new(state.trust.as_ref().map(pinned)), watch::Sender::new(times));
        let halted = state.halted.clone().map(OnceLock::from).unwrap_or_default();
        let state = Arc::new(Mutex::new(state));
        Self { inner: Arc::new(Inner { group, key, store, clock, settings, metrics, state, pinned, halted, times }) }
    }

    /// Answers a signing request, whose roots are followed: the stored answer if this very request was answered before,
    /// else what `build` makes of it, once that is durable. `fingerprint` answers the digest of the whole request.
    ///
    /// Both run on a thread that may block. The request goes on to its end even if the caller is gone.
    ///
    /// # Errors
    /// [`Error::NotPinned`], [`Error::WrongRepository`], [`Error::Restored`], [`Error::ClockWentBack`],
    /// [`Error::ClockJumped`], those of `build`, or as the store's.
    pub async fn sign(
        &self,
        header: &Header,
        fingerprint: impl FnOnce() -> Sha256 + Send + 'static,
        build: impl FnOnce(&Session<'_, M>) -> Result<Built<M>> + Send + 'static,
    ) -> Result<Answer> {
        self.admit(header)?;
        let (signer, begun) = (self.clone(), Instant::now());
        let answer = detached(async move {
            let (state, inner) = (signer.lock().await, Arc::clone(&signer.inner));
            match blocking(move || inner.work(state, fingerprint(), build)).await? {
                Worked::Answered(answer) => Ok(answer),
                Worked::Made(made) => signer.finish(*made).await,
            }
        })
        .await?;
        self.inner.metrics.answered(begun.elapsed());
        Ok(answer)
    }

    /// Looks into the state without changing it, for work that a request does before it is complete.
    pub async fn look<R>(&self, look: impl FnOnce(&State<M>, &Store) -> R) -> R {
        look(&*self.inner.state.lock().await, &self.inner.store)
    }

    /// Whether a request is for the repository of this signer; waits for nothing.
    fn admit(&self, header: &Header) -> Result<()> {
        let (known, _) = self.pinned().ok_or(Error::NotPinned)?;
        if header.repository != known {
            return Err(Error::WrongRepository { named: header.repository, known });
        }
        Ok(())
    }

    /// Follows the roots that a request hands over, before any more of it is judged or read, and lets go of them: they
    /// would keep the whole message that they came in.
    ///
    /// # Errors
    /// [`Error::NotPinned`], [`Error::WrongRepository`], [`Error::Evidence`], or as the store's.
    pub async fn follow_roots(&self, header: &mut Header) -> Result<()> {
        self.admit(header)?;
        let (signer, roots) = (self.clone(), std::mem::take(&mut header.roots));
        if roots.is_empty() {
            return Ok(());
        }
        detached(async move {
            let mut state = signer.lock().await;
            signer.follow(&mut state, roots).await
        })
        .await
    }

    async fn follow(&self, state: &mut State<M>, roots: Vec<Bytes>) -> Result<()> {
        let mut trust = state.trust.clone().ok_or(Error::NotPinned)?;
        let store = self.inner.store.clone();
        let (trust, batch) = blocking(move || trust.follow(&roots, &store).map(|batch| (trust, batch))).await?;
        if !batch.is_empty() {
            self.inner.store.commit(batch).await?;
            tracing::info!(version = %trust.root_version(), "follows a newer root");
            self.trusts(state, trust);
        }
        Ok(())
    }

    /// From now on this is trusted.
    pub(crate) fn trusts(&self, state: &mut State<M>, trust: Trust) {
        self.inner.pinned.send_replace(Some(pinned(&trust)));
        state.trust = Some(trust);
    }

    /// The repository, and the version of the newest root; none while not pinned. Waits for nothing.
    pub(crate) fn pinned(&self) -> Option<(Sha256, Version)> {
        *self.inner.pinned.borrow()
    }

    /// Makes everything durable, and only then lets the answer out.
    async fn finish(&self, made: Pending<M>) -> Result<Answer> {
        let Pending { mut state, now, batch, changed, answers, remember } = made;
        let times = self.inner.times.borrow().signed(&now);
        self.remember(batch, times).await?;
        state.roles.extend(changed);
        remember(&mut state);
        let signed = answers.iter().filter(|(row, _)| row.document.is_some()).map(|(row, _)| &row.role);
        self.inner.metrics.signed(&state.roles, signed);
        Ok(Answer { store: self.inner.store.clone(), roles: answers.into_iter() })
    }

    pub(crate) async fn lock(&self) -> OwnedMutexGuard<State<M>> {
        Arc::clone(&self.inner.state).lock_owned().await
    }
}

/// What became of a request, before anything of it is durable.
enum Worked<M> {
    /// It was answered before.
    Answered(Answer),
    /// It was not.
    Made(Box<Pending<M>>),
}

/// What is to become durable, while nothing else is signed.
struct Pending<M> {
    state: OwnedMutexGuard<State<M>>,
    now: Reading,
    batch: Batch,
    changed: Vec<(RoleName, RoleState)>,
    answers: Vec<(RoleAnswerRow, Option<Bytes>)>,
    remember: Remember<M>,
}

impl<M> Inner<M> {
    /// Looks for the stored answer, or makes one; blocks.
    fn work(
        &self,
        state: OwnedMutexGuard<State<M>>,
        fingerprint: Sha256,
        build: impl FnOnce(&Session<'_, M>) -> Result<Built<M>>,
    ) -> Result<Worked<M>> {
        if let Some(answer) = self.stored(fingerprint)? {
            return Ok(Worked::Answered(answer));
        }
        if let Some(evidence) = state.halted.clone() {
            return Err(Error::Restored { evidence });
        }
        let now = self.reading()?;
        let Built { roles, mut batch, remember } = build(&self.session(&state, now.wall)?)?;
        let mut changed = Vec::with_capacity(roles.len());
        for made in &roles {
            let old = state.role(&made.role);
            let new = next_state(&old, made, fingerprint, now.wall)?;
            if let Some(answer) = old.answer.filter(|answer| *answer != fingerprint) {
                // The answer can't be given whole any more.
                batch.delete(rows::answer_row(answer));
            }
            if let Some(Sealed { known, body, .. }) = &made.document {
                let row = rows::body_row(&made.role, known);
                match body {
                    Body::Here(bytes) => batch.put(row, bytes.as_ref()),
                    Body::Ahead(staged) => batch.put_staged(row, staged.clone()),
                };
            }
            rows::put_role(&mut batch, &made.role, &old, &new);
            changed.push((made.role.clone(), new));
        }
        let answers: Vec<_> = roles.into_iter().map(answer_of).collect();
        let row = AnswerRow { roles: answers.iter().map(|(row, _)| row.clone()).collect() };
        batch.put(rows::answer_row(fingerprint), rows::encode(&row));
        Ok(Worked::Made(Box::new(Pending { state, now, batch, changed, answers, remember })))
    }

    /// The stored answer to a request, while all of its documents are there.
    fn stored(&self, fingerprint: Sha256) -> Result<Option<Answer>> {
        let Some(row) = rows::row::<AnswerRow>(&self.store, &rows::answer_row(fingerprint))? else {
            return Ok(None);
        };
        let roles: Vec<_> = row.roles.into_iter().map(|row| (row, None)).collect();
        Ok(Some(Answer { store: self.store.clone(), roles: roles.into_iter() }))
    }

    fn session<'a>(&'a self, state: &'a State<M>, now: Timestamp) -> Result<Session<'a, M>> {
        let trust = state.trust.as_ref().ok_or(Error::NotPinned)?;
        let (key, store, settings) = (self.key.as_ref(), &self.store, &self.settings);
        Ok(Session { key, store, settings, state, trust, now })
    }
}

fn pinned(trust: &Trust) -> (Sha256, Version) {
    (trust.repository(), trust.root_version())
}

fn next_state(old: &RoleState, made: &Made, fingerprint: Sha256, now: Timestamp) -> Result<RoleState> {
    let mut new = RoleState { answer: Some(fingerprint), ..old.clone() };
    if let Some(document) = &made.document {
        new.budget = rules::spend(&made.role, old, document.known.version, now)?;
        new.signed = Some(document.known.clone());
        if document.complete {
            new.base = Some(document.known.clone());
        }
    }
    Ok(new)
}
