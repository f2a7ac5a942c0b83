//! State transfer that proves itself: published documents that a signer is behind.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_store::Batch;
use rstuf_tuf::{Envelope, Known, RoleKeys, RoleName, TopLevel};

use crate::{
    Error, Result, RoleState, Signer, State, Trust,
    detach::{blocking, detached},
    rows::{self, DELEGATOR, HALTED},
    rules,
    signer::Inner,
    trust::Delegator,
};

impl<M: Send + Sync + 'static> Signer<M> {
    /// Takes a published document as the base of its role, if it is signed as the role asks and newer than the base. A
    /// document that is the base already changes nothing.
    ///
    /// # Errors
    /// [`Error::NotPinned`], [`Error::WrongRole`], [`Error::Evidence`], [`Error::VersionBudget`],
    /// [`Error::ClockWentBack`], [`Error::ClockJumped`]; [`Error::Restored`],
    /// for ever, if it shows that the own key has signed what the state does not know.
    pub async fn load(&self, role: RoleName, bytes: Bytes) -> Result<()> {
        let signer = self.clone();
        detached(async move {
            let (state, inner) = (signer.lock().await, Arc::clone(&signer.inner));
            let (mut state, loaded) = blocking(move || {
                let loaded = inner.check(&state, role, bytes)?;
                Ok((state, loaded))
            })
            .await?;
            let Some((batch, loaded)) = loaded else { return Ok(()) };
            signer.inner.store.commit(batch).await?;
            match loaded {
                Loaded::Base(role, known) => drop(state.roles.insert(role, known)),
                Loaded::Delegator(delegator) => {
                    if let Some(trust) = &mut state.trust {
                        trust.set_delegator(Some(delegator));
                    }
                }
                Loaded::Restored(evidence) => {
                    state.halted = Some(evidence.clone());
                    signer.inner.halted.get_or_init(|| evidence.clone());
                    return Err(Error::Restored { evidence });
                }
            }
            Ok(())
        })
        .await
    }
}

/// What a document changes, once that is durable.
enum Loaded {
    /// It is the base of its role.
    Base(RoleName, RoleState),
    /// It says who signs which delegated role.
    Delegator(Arc<Delegator>),
    /// It proves that the own key has signed what the state does not know.
    Restored(String),
}

impl<M> Inner<M> {
    /// Checks a document, and answers what it changes, if it does; blocks.
    fn check(&self, state: &State<M>, role: RoleName, bytes: Bytes) -> Result<Option<(Batch, Loaded)>> {
        let envelope = Envelope::parse(&bytes).map_err(|error| Error::evidence(&role, error))?;
        let trust = state.trust.as_ref().ok_or(Error::NotPinned)?;
        let own = self.key.public_key().key_id();
        let delegates = self.group == TopLevel::Targets && role == RoleName::targets();
        if !delegates && !trust.names(&role, &own) {
            return Err(Error::wrong_role(&role, "this signer does not sign it"));
        }
        trust.verify(&role, &envelope)?;
        if !trust.names(&role, &own) {
            return delegator(trust, bytes, &envelope);
        }
        if let Some(evidence) = self.restored(state, &role, &envelope)? {
            tracing::error!(evidence, "own key signed what this state does not know: signing nothing any more");
            let mut batch = Batch::new();
            batch.put(HALTED, rows::encode(&evidence));
            return Ok(Some((batch, Loaded::Restored(evidence))));
        }
        let old = state.role(&role);
        if !is_newer(&role, old.base.as_ref(), &envelope)? {
            return Ok(None);
        }
        let budget = rules::follow(&role, old.budget, old.highest(), envelope.version(), self.reading()?.wall)?;
        let new = RoleState { base: Some(Known::of(&envelope)), budget, ..old.clone() };
        let mut batch = Batch::new();
        rows::put_role(&mut batch, &role, &old, &new);
        batch.put(rows::body_row(&role, &Known::of(&envelope)), bytes);
        Ok(Some((batch, Loaded::Base(role, new))))
    }

    /// Looks for a valid signature of the own key on what the state does not know; if there is one, nothing may be
    /// signed any more.
    fn restored(&self, state: &State<M>, role: &RoleName, envelope: &Envelope) -> Result<Option<String>> {
        // A document that does not say its role may be another's, which the same key signed.
        if role.as_delegated().is_some() && envelope.role().is_none() {
            return Ok(None);
        }
        let public_key = self.key.public_key();
        let own = rstuf_tuf::keys_by_id([public_key.clone()]);
        let Ok(role_keys) = RoleKeys::new(vec![public_key.key_id()], 1) else { return Ok(None) };
        if envelope.verify(&own, &role_keys).is_err() {
            return Ok(None);
        }
        let signed = state.role(role).signed;
        let (watermark, version) = (signed.as_ref().map(|signed| signed.version), envelope.version());
        let same = match signed.filter(|signed| signed.version == version) {
            None => false,
            Some(signed) => {
                let row = rows::body_row(role, &signed);
                let signed = self.store.get(&row)?.ok_or_else(|| rows::corrupt(&row, "missing"))?;
                let signed = Envelope::parse(&signed).map_err(|error| rows::corrupt(&row, error))?;
                signed.canonical() == envelope.canonical()
            }
        };
        let proven = rules::proves_restored(watermark, version, same);
        Ok(proven.then(|| format!("{role} version {version}, sha256 {}", envelope.sha256())))
    }
}

/// What a document of the top-level targets changes, which others sign.
fn delegator(trust: &Trust, bytes: Bytes, envelope: &Envelope) -> Result<Option<(Batch, Loaded)>> {
    let role = RoleName::targets();
    let known = trust.delegator().map(|it| it.known.clone());
    if !is_newer(&role, known.as_ref(), envelope)? {
        return Ok(None);
    }
    let delegator = Delegator::of(envelope).map_err(|error| Error::evidence(&role, error))?;
    let delegator = delegator.ok_or_else(|| Error::evidence(&role, "it delegates nothing"))?;
    let mut batch = Batch::new();
    batch.put(DELEGATOR, bytes);
    Ok(Some((batch, Loaded::Delegator(Arc::new(delegator)))))
}

/// Whether a document is newer than the one known; the same is not, and anything else is refused.
fn is_newer(role: &RoleName, known: Option<&Known>, envelope: &Envelope) -> Result<bool> {
    let Some(known) = known else { return Ok(true) };
    if envelope.version() > known.version {
        return Ok(true);
    }
    if envelope.sha256() == known.sha256 {
        return Ok(false);
    }
    let reason = format!("version {} is not newer than the base, {known}", envelope.version());
    Err(Error::evidence(role, reason))
}
