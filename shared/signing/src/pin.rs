//! The first root that a signer believes, once and for ever.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_store::Batch;
use rstuf_tuf::{Envelope, KeyId, RoleName, Sha256, TopLevel, TrustedRoot, Version};

use crate::{
    Error, Result, Signer, Trust,
    detach::{blocking, detached},
    rows::{DELEGATOR, root_row},
    signer::Inner,
    trust::Delegator,
};

impl<M: Send + Sync + 'static> Signer<M> {
    /// Pins the signer to its repository: once, and again only to the same. `targets` are the top-level targets where
    /// they are signed offline, else empty.
    ///
    /// # Errors
    /// [`Error::AlreadyPinned`], [`Error::RootNotConfigured`], [`Error::PinRefused`], or as the store's.
    pub async fn pin(&self, root: Bytes, targets: Bytes) -> Result<()> {
        let signer = self.clone();
        detached(async move {
            let mut state = signer.lock().await;
            let (inner, known) = (Arc::clone(&signer.inner), state.trust.as_ref().map(Trust::repository));
            let Some(pinned) = blocking(move || inner.pinned(known, root, targets)).await? else { return Ok(()) };
            let mut batch = Batch::new();
            batch.put(root_row(Version::ONE), pinned.root);
            if let Some(bytes) = pinned.delegator {
                batch.put(DELEGATOR, bytes);
            }
            signer.inner.store.commit(batch).await?;
            tracing::info!(repository = %pinned.trust.repository(), "pinned");
            signer.trusts(&mut state, pinned.trust);
            Ok(())
        })
        .await
    }
}

impl<M> Inner<M> {
    /// Checks what the signer is to be pinned to, and binds the store to it; none where it is pinned to that already.
    fn pinned(&self, known: Option<Sha256>, root: Bytes, targets: Bytes) -> Result<Option<Pinned>> {
        let named = Sha256::of(&root);
        let bound = self.store.repository()?.map(Sha256);
        if let Some(known) = known.or(bound).filter(|known| *known != named) {
            return Err(Error::AlreadyPinned { named, known });
        }
        if known.is_some() {
            return Ok(None);
        }
        let key = self.key.public_key().key_id();
        let pinned = check_pin(self.group, key, self.settings.root_sha256, root, targets)?;
        self.store.bind_repository(named.0)?;
        Ok(Some(pinned))
    }
}

/// What a signer is pinned to, after all checks.
#[derive(Debug)]
struct Pinned {
    trust: Trust,
    root: Bytes,
    delegator: Option<Bytes>,
}

/// Checks that root 1, with targets 1 where they are signed offline, pins the signer of `group` with this key: the
/// documents are valid and name the key for this group's role and for no other top-level one.
///
/// # Errors
/// [`Error::RootNotConfigured`], [`Error::PinRefused`].
fn check_pin(group: TopLevel, key: KeyId, configured: Option<Sha256>, root: Bytes, targets: Bytes) -> Result<Pinned> {
    let refuse = |reason: String| Error::PinRefused { reason };
    let named = Sha256::of(&root);
    if let Some(configured) = configured.filter(|configured| *configured != named) {
        return Err(Error::RootNotConfigured { named, configured });
    }
    let trusted = TrustedRoot::first(&root, configured).map_err(|error| refuse(format!("root: {error}")))?;
    let mut trust = Trust::new(trusted, None);
    let named_for = |role: &TopLevel| trust.root().role(*role).contains(&key);
    if let Some(other) = TopLevel::ALL.into_iter().filter(|role| *role != group).find(named_for) {
        return Err(refuse(format!("root names this signer's key {key} for {other}, allowed is {group} alone")));
    }
    let by_root = named_for(&group);
    let delegates = group == TopLevel::Targets && !by_root;
    if !by_root && !delegates {
        return Err(refuse(format!("root does not name this signer's key {key} for {group}")));
    }
    if !delegates {
        // Others learn the delegations from evidence; in the flat layout there are none.
        let signed_online = group == TopLevel::Targets && !targets.is_empty();
        if signed_online {
            return Err(refuse("root names this signer's key for targets, so targets must be empty".to_owned()));
        }
        return Ok(Pinned { trust, root, delegator: None });
    }
    let delegator = pinned_delegator(&trust, key, &targets)?;
    trust.set_delegator(Some(Arc::new(delegator)));
    Ok(Pinned { trust, root, delegator: Some(targets) })
}

fn pinned_delegator(trust: &Trust, key: KeyId, targets: &Bytes) -> Result<Delegator> {
    let refuse = |reason: String| Error::PinRefused { reason };
    if targets.is_empty() {
        return Err(refuse(format!("root does not name this signer's key {key} for targets, and targets is empty")));
    }
    let envelope = Envelope::parse(targets).map_err(|error| refuse(format!("targets: {error}")))?;
    trust.verify(&RoleName::targets(), &envelope).map_err(|error| refuse(error.to_string()))?;
    let delegator = Delegator::of(&envelope).map_err(|error| refuse(format!("targets: {error}")))?;
    let delegator = delegator.ok_or_else(|| refuse("targets delegates nothing".to_owned()))?;
    if !delegator.delegations.each_role_keys().any(|keys| keys.contains(&key)) {
        return Err(refuse(format!("neither root nor targets names this signer's key {key}")));
    }
    Ok(delegator)
}
