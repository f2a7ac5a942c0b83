//! State transfer that proves itself: published documents that a signer is behind.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_store::Batch;
use rstuf_tuf::{Envelope, Known, RoleKeys, RoleName, TopLevel};

use crate::{
    Error, Result, RoleState, Signer, State,
    detach::{blocking, detached},
    rows::{self, DELEGATOR, HALTED},
    rules,
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
            let mut state = signer.lock().await;
            let (role, bytes, envelope) = blocking(move || {
                let envelope = Envelope::parse(&bytes).map_err(|error| Error::evidence(&role, error))?;
                Ok((role, bytes, envelope))
            })
            .await?;
            let trust = state.trust.as_ref().ok_or(Error::NotPinned)?;
            let own = signer.inner.key.public_key().key_id();
            let delegates = signer.inner.group == TopLevel::Targets && role == RoleName::targets();
            if !delegates && !trust.names(&role, &own) {
                return Err(Error::wrong_role(&role, "this signer does not sign it"));
            }
            trust.verify(&role, &envelope)?;
            if trust.names(&role, &own) {
                signer.load_base(&mut state, role, bytes, &envelope).await
            } else {
                signer.load_delegator(&mut state, bytes, &envelope).await
            }
        })
        .await
    }

    async fn load_delegator(&self, state: &mut State<M>, bytes: Bytes, envelope: &Envelope) -> Result<()> {
        let role = RoleName::targets();
        let known = state.trust.as_ref().and_then(|trust| trust.delegator().map(|it| it.known.clone()));
        if !is_newer(&role, known.as_ref(), envelope)? {
            return Ok(());
        }
        let delegator = Delegator::of(envelope).map_err(|error| Error::evidence(&role, error))?;
        let delegator = delegator.ok_or_else(|| Error::evidence(&role, "it delegates nothing"))?;
        self.inner.store.commit(Batch::new().put(DELEGATOR, bytes)).await?;
        if let Some(trust) = &mut state.trust {
            trust.set_delegator(Some(Arc::new(delegator)));
        }
        Ok(())
    }

    async fn load_base(&self, state: &mut State<M>, role: RoleName, bytes: Bytes, envelope: &Envelope) -> Result<()> {
        let old = state.role(&role);
        self.check_not_restored(state, &role, envelope).await?;
        if !is_newer(&role, old.base.as_ref(), envelope)? {
            return Ok(());
        }
        let budget = rules::follow(&role, old.budget, old.highest(), envelope.version(), self.reading()?.wall)?;
        let new = RoleState { base: Some(Known::of(envelope)), budget, ..old.clone() };
        let mut batch = Batch::new();
        rows::put_role(&mut batch, &role, &old, &new);
        batch.put(rows::body_row(&role, &Known::of(envelope)), bytes);
        self.inner.store.commit(batch).await?;
        state.roles.insert(role, new);
        Ok(())
    }

    /// Looks for a valid signature of the own key on what the state does not know; if there is one, nothing is signed
    /// any more.
    async fn check_not_restored(&self, state: &mut State<M>, role: &RoleName, envelope: &Envelope) -> Result<()> {
        // A document that does not say its role may be another's, which the same key signed.
        if role.as_delegated().is_some() && envelope.role().is_none() {
            return Ok(());
        }
        let public_key = self.inner.key.public_key();
        let own = rstuf_tuf::keys_by_id([public_key.clone()]);
        let Ok(role_keys) = RoleKeys::new(vec![public_key.key_id()], 1) else { return Ok(()) };
        if envelope.verify(&own, &role_keys).is_err() {
            return Ok(());
        }
        let signed = state.role(role).signed;
        let (watermark, version) = (signed.as_ref().map(|signed| signed.version), envelope.version());
        let same = match signed.filter(|signed| signed.version == version) {
            None => false,
            Some(signed) => {
                let row = rows::body_row(role, &signed);
                let signed = self.inner.store.get(&row)?.ok_or_else(|| rows::corrupt(&row, "missing"))?;
                let signed = Envelope::parse(&signed).map_err(|error| rows::corrupt(&row, error))?;
                signed.canonical() == envelope.canonical()
            }
        };
        if !rules::proves_restored(watermark, version, same) {
            return Ok(());
        }
        let evidence = format!("{role} version {version}, sha256 {}", envelope.sha256());
        tracing::error!(%role, %version, "own key signed what this state does not know: signing nothing any more");
        self.inner.store.commit(Batch::new().put(HALTED, rows::encode(&evidence))).await?;
        state.halted = Some(evidence.clone());
        self.inner.halted.get_or_init(|| evidence.clone());
        Err(Error::Restored { evidence })
    }
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
