//! What a signer says of itself, and what it hands out.

use std::time::Duration;

use bytes::Bytes;
use rstuf_api::Refusal;
use rstuf_tuf::{DocumentRef, PublicKey, RoleName, Sha256, TopLevel, Version};

use crate::{
    Error, Result, Signer,
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
    pub async fn document(&self, role: &RoleName) -> Result<Bytes> {
        let row = {
            let state = self.lock().await;
            match state.roles.get(role) {
                Some(known) => {
                    let newest = known.base.iter().chain(&known.signed).max_by_key(|known| known.version);
                    newest.map(|known| rows::body_row(role, known))
                }
                None => (*role == RoleName::targets() && self.inner.group == TopLevel::Targets)
                    .then(|| DELEGATOR.to_owned()),
            }
        };
        let bytes = row.map(|row| self.inner.store.get(row)).transpose()?.flatten();
        bytes.map(Bytes::from).ok_or_else(|| Error::NotFound { role: role.clone() })
    }
}
