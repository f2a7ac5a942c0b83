//! The core of every signer: nothing leaves before it is durable, and nothing is signed but by the rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::convert::DocumentRef;
use rstuf_api::proto::signer::v1::PinRequest;
use rstuf_keys::KeySource;
use rstuf_runtime::Clock;
use rstuf_store::{Batch, Store};
use rstuf_tuf::{Envelope, PublicKey, RoleKeys, RoleName, Sha256, TopLevel, Version};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::answer::{Answer, answer_of};
use crate::metrics::Metrics;
use crate::session::{Built, Made, Session};
use crate::state::{self, AnswerRow, DELEGATOR, SEEN, State};
use crate::trust::{self, Trust};
use crate::{Error, Header, Known, Result, parallel, rules};

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest time from now to a document's expiry.
    pub lifetime_max: Duration,
    /// The only root 1 that the signer may be pinned to; any that names its key where none is configured.
    pub root_sha256: Option<Sha256>,
}

/// One signer: one key, one state directory. Cheap to clone; clones are one signer.
///
/// Signing requests are answered one at a time. `M` is what this kind of signer remembers beside what all do.
#[derive(Debug)]
pub struct Signer<M> {
    pub(crate) inner: Arc<Inner<M>>,
}

impl<M> Clone for Signer<M> {
    fn clone(&self) -> Signer<M> {
        Signer { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
pub(crate) struct Inner<M> {
    pub(crate) group: TopLevel,
    pub(crate) key: Arc<dyn KeySource>,
    pub(crate) store: Store,
    clock: Clock,
    settings: Settings,
    metrics: Metrics,
    state: Arc<Mutex<State<M>>>,
}

/// What a signer says of itself.
#[derive(Debug, Clone)]
pub struct Description {
    /// Which roles it signs.
    pub group: TopLevel,
    /// Its key.
    pub public_key: PublicKey,
    /// The repository, and the version of the newest root; none while not pinned.
    pub pinned: Option<(Sha256, Version)>,
    /// Longest time to the expiry of what it signs.
    pub lifetime_max: Duration,
}

/// What a signer says of one of its roles.
#[derive(Debug, Clone)]
pub struct RoleDescription {
    /// The role.
    pub role: RoleName,
    /// The highest threshold-signed document.
    pub base: Option<DocumentRef>,
    /// The highest version signed by the own key.
    pub watermark: Option<Version>,
}

impl<M: Send + Sync + 'static> Signer<M> {
    /// A signer over a checked state. `state` comes from [`crate::open`].
    pub(crate) fn new(
        group: TopLevel,
        key: Arc<dyn KeySource>,
        store: Store,
        clock: Clock,
        settings: Settings,
        metrics: Metrics,
        state: State<M>,
    ) -> Signer<M> {
        let state = Arc::new(Mutex::new(state));
        Signer { inner: Arc::new(Inner { group, key, store, clock, settings, metrics, state }) }
    }

    /// What the signer says of itself.
    pub async fn describe(&self) -> Description {
        let state = self.inner.state.lock().await;
        let pinned = state.trust.as_ref().map(|trust| (trust.repository(), trust.root_version()));
        let public_key = self.inner.key.public_key().clone();
        Description { group: self.inner.group, public_key, pinned, lifetime_max: self.inner.settings.lifetime_max }
    }

    /// Whether the signer knows its repository.
    pub async fn is_pinned(&self) -> bool {
        self.inner.state.lock().await.trust.is_some()
    }

    /// Pins the signer to its repository: once, and again only to the same.
    ///
    /// # Errors
    /// [`Error::AlreadyPinned`], [`Error::RootNotConfigured`], [`Error::PinRefused`], or as the store's.
    pub async fn pin(&self, request: PinRequest) -> Result<()> {
        let signer = self.clone();
        detached(async move {
            let mut state = signer.lock().await;
            let named = Sha256::of(&request.root);
            let bound = signer.inner.store.repository()?.map(Sha256);
            if let Some(known) = state.trust.as_ref().map(Trust::repository).or(bound).filter(|known| *known != named) {
                return Err(Error::AlreadyPinned { named, known });
            }
            if state.trust.is_some() {
                return Ok(());
            }
            let key = signer.inner.key.public_key().key_id();
            let pinned = trust::check_pin(signer.inner.group, key, signer.inner.settings.root_sha256, request)?;
            let mut batch = Batch::new();
            batch.put(state::root_row(Version::ONE), pinned.root);
            if let Some(bytes) = pinned.delegator {
                batch.put(DELEGATOR, bytes);
            }
            let store = signer.inner.store.clone();
            blocking(move || Ok(store.bind_repository(named.0)?)).await?;
            signer.inner.store.commit(batch).await?;
            tracing::info!(repository = %named, "pinned");
            state.trust = Some(pinned.trust);
            Ok(())
        })
        .await
    }

    /// The roles that it signs, and top-level targets where it holds the delegations, in the order of their names.
    pub async fn role_states(&self) -> Vec<RoleDescription> {
        let state = self.inner.state.lock().await;
        let targets = RoleName::targets();
        let delegator = (self.inner.group == TopLevel::Targets).then(|| state.trust.as_ref()?.delegator()).flatten();
        let signed = state.roles.iter().filter(|(role, _)| delegator.is_none() || **role != targets);
        let mut roles: Vec<_> = signed
            .map(|(role, known)| RoleDescription {
                role: role.clone(),
                base: known.base.as_ref().map(|base| base.reference(role)),
                watermark: known.watermark(),
            })
            .collect();
        let base = delegator.map(|delegator| delegator.known.reference(&targets));
        roles.extend(base.map(|base| RoleDescription { role: targets, base: Some(base), watermark: None }));
        roles.sort_by(|left, right| left.role.cmp(&right.role));
        roles
    }

    /// The newest document of a role: the last that the own key signed, else the base.
    ///
    /// # Errors
    /// [`Error::NotFound`], or as the store's.
    pub async fn document(&self, role: &RoleName) -> Result<Bytes> {
        let row = {
            let state = self.inner.state.lock().await;
            match state.roles.get(role) {
                Some(known) => {
                    let newest = known.base.iter().chain(&known.signed).max_by_key(|known| known.version);
                    newest.map(|known| state::body_row(role, known))
                }
                None => (*role == RoleName::targets() && self.inner.group == TopLevel::Targets)
                    .then(|| DELEGATOR.to_owned()),
            }
        };
        let bytes = row.map(|row| self.inner.store.get(row)).transpose()?.flatten();
        bytes.map(Bytes::from).ok_or_else(|| Error::NotFound { role: role.clone() })
    }

    /// Answers a signing request: the stored answer if this very request was answered before, else what `build` makes of
    /// it, once that is durable. `fingerprint` is the digest of the whole request.
    ///
    /// `build` runs on a thread that may block. The request goes on to its end even if the caller is gone.
    ///
    /// # Errors
    /// [`Error::NotPinned`], [`Error::WrongRepository`], [`Error::Restored`], [`Error::ClockWentBack`], those of `build`, or as
    /// the store's.
    pub async fn sign(
        &self,
        header: Header,
        fingerprint: Sha256,
        build: impl FnOnce(&Session<'_, M>) -> Result<Built<M>> + Send + 'static,
    ) -> Result<Answer> {
        let (signer, begun) = (self.clone(), Instant::now());
        let answer = detached(async move {
            let mut state = signer.lock().await;
            let trust = state.trust.as_ref().ok_or(Error::NotPinned)?;
            let (named, known) = (header.repository, trust.repository());
            if named != known {
                return Err(Error::WrongRepository { named, known });
            }
            if let Some(answer) = signer.stored(fingerprint)? {
                return Ok(answer);
            }
            if let Some(evidence) = state.halted.clone() {
                return Err(Error::Restored { evidence });
            }
            signer.follow(&mut state, &header.roots).await?;
            let now = signer.inner.clock.now();
            rules::check_clock(now, state.seen)?;
            let inner = Arc::clone(&signer.inner);
            let (state, built) = blocking(move || {
                let built = build(&inner.session(&state, now)?)?;
                Ok((state, built))
            })
            .await?;
            signer.finish(state, fingerprint, now, built).await
        })
        .await?;
        self.inner.metrics.answered(begun.elapsed());
        Ok(answer)
    }

    /// Looks into the state without changing it, for work that a request does before it is complete.
    pub async fn look<R>(&self, look: impl FnOnce(&State<M>, &Store) -> R) -> R {
        look(&*self.inner.state.lock().await, &self.inner.store)
    }

    /// Follows the roots that a request hands over, before anything of it is judged.
    ///
    /// # Errors
    /// [`Error::NotPinned`], [`Error::WrongRepository`], [`Error::Evidence`], or as the store's.
    pub async fn follow_roots(&self, header: &Header) -> Result<()> {
        let (signer, header) = (self.clone(), header.clone());
        detached(async move {
            let mut state = signer.lock().await;
            let known = state.trust.as_ref().ok_or(Error::NotPinned)?.repository();
            if header.repository != known {
                return Err(Error::WrongRepository { named: header.repository, known });
            }
            signer.follow(&mut state, &header.roots).await
        })
        .await
    }

    async fn follow(&self, state: &mut State<M>, roots: &[Bytes]) -> Result<()> {
        if roots.is_empty() {
            return Ok(());
        }
        let mut trust = state.trust.clone().ok_or(Error::NotPinned)?;
        let (store, roots) = (self.inner.store.clone(), roots.to_vec());
        let (trust, batch) = blocking(move || trust.follow(&roots, &store).map(|batch| (trust, batch))).await?;
        if !batch.is_empty() {
            self.inner.store.commit(batch).await?;
            tracing::info!(version = %trust.root_version(), "follows a newer root");
            state.trust = Some(trust);
        }
        Ok(())
    }

    /// The stored answer to a request, while all of its documents are there.
    fn stored(&self, fingerprint: Sha256) -> Result<Option<Answer>> {
        let Some(row) = state::row::<AnswerRow>(&self.inner.store, &state::answer_row(fingerprint))? else {
            return Ok(None);
        };
        let roles: Vec<_> = row.roles.into_iter().map(|row| (row, None)).collect();
        Ok(Some(Answer { store: self.inner.store.clone(), roles: roles.into_iter() }))
    }

    /// Makes everything durable, and only then lets the answer out.
    async fn finish(
        &self,
        mut state: OwnedMutexGuard<State<M>>,
        fingerprint: Sha256,
        now: Timestamp,
        built: Built<M>,
    ) -> Result<Answer> {
        let Built { roles, mut batch, remember } = built;
        let seen = state.seen.map_or(now, |seen| seen.max(now));
        batch.put(SEEN, state::encode(&seen.as_second()));
        let mut changed = Vec::with_capacity(roles.len());
        for made in &roles {
            let old = state.role(&made.role);
            let new = next_state(&old, made, fingerprint);
            if let Some(answer) = old.answer.filter(|answer| *answer != fingerprint) {
                // The answer can't be given whole any more.
                batch.delete(state::answer_row(answer));
            }
            if let Some((known, bytes)) = made.document.as_ref().and_then(|it| Some((&it.known, it.bytes.clone()?))) {
                batch.put(state::body_row(&made.role, known), bytes);
            }
            state::put_role(&mut batch, &made.role, &old, &new);
            changed.push((made.role.clone(), new));
        }
        let (rows, answer): (Vec<_>, Vec<_>) = roles.into_iter().map(answer_of).unzip();
        batch.put(state::answer_row(fingerprint), state::encode(&AnswerRow { roles: rows.clone() }));
        self.inner.store.commit(batch).await?;
        state.seen = Some(seen);
        state.roles.extend(changed);
        remember(&mut state);
        self.inner.metrics.signed(&state.roles, rows.iter().filter(|row| row.document.is_some()).map(|row| &row.role));
        let roles: Vec<_> = rows.into_iter().zip(answer).collect();
        Ok(Answer { store: self.inner.store.clone(), roles: roles.into_iter() })
    }

    /// Counts a refusal, and makes the answer of it.
    pub fn refuse(&self, error: Error) -> tonic::Status {
        self.inner.metrics.refused(&error);
        rstuf_api::status(error)
    }

    pub(crate) async fn lock(&self) -> OwnedMutexGuard<State<M>> {
        Arc::clone(&self.inner.state).lock_owned().await
    }
}

impl<M> Inner<M> {
    fn session<'a>(&'a self, state: &'a State<M>, now: Timestamp) -> Result<Session<'a, M>> {
        let trust = state.trust.as_ref().ok_or(Error::NotPinned)?;
        let (key, store, settings) = (self.key.as_ref(), &self.store, &self.settings);
        Ok(Session { key, store, settings, state, trust, now })
    }
}

fn next_state(old: &state::RoleState, made: &Made, fingerprint: Sha256) -> state::RoleState {
    let mut new = state::RoleState { answer: Some(fingerprint), ..old.clone() };
    if let Some(document) = &made.document {
        new.signed = Some(document.known.clone());
        if document.complete {
            new.base = Some(document.known.clone());
        }
    }
    new
}

/// Checks the state at start: every stored document is the one that its row names, and the own signatures verify.
pub(crate) fn verify<M>(store: &Store, key: &dyn KeySource, state: &State<M>) -> Result<()> {
    let own = rstuf_tuf::keys_by_id([key.public_key().clone()]);
    let role_keys = RoleKeys::new(vec![key.public_key().key_id()], 1);
    let role_keys = role_keys.map_err(|error| state::corrupt("the key", error))?;
    let documents: Vec<_> = state
        .roles
        .iter()
        .flat_map(|(role, known)| {
            let signed = known.signed.as_ref().map(|known| (role, known, true));
            let other = known.base.as_ref().filter(|base| Some(*base) != known.signed.as_ref());
            signed.into_iter().chain(other.map(|known| (role, known, false)))
        })
        .collect();
    let check = |(role, known, signed): &(&RoleName, &Known, bool)| {
        let name = state::body_row(role, known);
        let bytes = store.get(&name)?.ok_or_else(|| state::corrupt(&name, "missing"))?;
        if Sha256::of(&bytes) != known.sha256 {
            return Err(state::corrupt(&name, format!("its digest is not {}", known.sha256)));
        }
        if *signed {
            let envelope = Envelope::parse(&bytes).map_err(|error| state::corrupt(&name, error))?;
            envelope.verify(&own, &role_keys).map_err(|error| state::corrupt(&name, error))?;
        }
        Ok(())
    };
    parallel::map(&documents, check).into_iter().collect()
}

/// Runs to the end even if the caller is gone: a commit under way must also be remembered.
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let task = tokio::spawn(tracing::Instrument::in_current_span(work)).await;
    task.unwrap_or_else(|error| Err(Error::Task { reason: error.to_string() }))
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    let task = tokio::task::spawn_blocking(move || span.in_scope(work)).await;
    task.unwrap_or_else(|error| Err(Error::Task { reason: error.to_string() }))
}
