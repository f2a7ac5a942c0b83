//! What a signer says of itself, and what it hands out.

use std::time::Duration;

use bytes::Bytes;
use rstuf_api::Refusal;
use rstuf_tuf::{DocumentRef, PublicKey, RoleName, Sha256, TopLevel, Version};

use crate::{
    Error, Result, Signer,
    detach::{blocking, detached},
    rows::{self, DELEGATOR},
};

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
    /// What proved that this state is older than what the key signed; nothing is signed any more then.
    pub halted: Option<String>,
    /// Why nothing is signed because of the clock; none where it is believed.
    pub clock_refusal: Option<Refusal>,
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
    /// What the signer says of itself, at once, also while it signs.
    pub fn describe(&self) -> Description {
        let pinned = self.pinned();
        let public_key = self.inner.key.public_key().clone();
        let (lifetime_max, halted) = (self.inner.settings.lifetime_max, self.inner.halted.get().cloned());
        let clock_refusal = self.clock_refusal();
        Description { group: self.inner.group, public_key, pinned, lifetime_max, halted, clock_refusal }
    }

    /// The roles that it signs, and top-level targets where it holds the delegations, in the order of their names.
    pub async fn role_states(&self) -> Vec<RoleDescription> {
        let state = self.lock().await;
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
    pub async fn document(&self, role: RoleName) -> Result<Bytes> {
        let signer = self.clone();
        // Nobody asks for the next part of an answer that is not read: whoever waits for the state must take it, and
        // give it back, nevertheless.
        detached(async move {
            let row = signer.newest(&role).await;
            let bytes = blocking(move || Ok(row.map(|row| signer.inner.store.get(row)).transpose()?.flatten())).await?;
            bytes.map(Bytes::from).ok_or(Error::NotFound { role })
        })
        .await
    }

    /// The row of a role's newest document.
    async fn newest(&self, role: &RoleName) -> Option<String> {
        match self.lock().await.roles.get(role) {
            Some(known) => {
                let newest = known.base.iter().chain(&known.signed).max_by_key(|known| known.version);
                newest.map(|known| rows::body_row(role, known))
            }
            None => {
                let delegates = *role == RoleName::targets() && self.inner.group == TopLevel::Targets;
                delegates.then(|| DELEGATOR.to_owned())
            }
        }
    }
}
