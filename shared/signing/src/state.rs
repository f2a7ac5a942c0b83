//! Everything that a signer remembers, in memory.

use std::collections::BTreeMap;

use rstuf_store::Store;
use rstuf_tuf::RoleName;

use crate::{
    Result, Trust,
    rows::{HALTED, ROLES, RoleState, decode, each_role, row},
};

/// Everything that one signer remembers; `M` is what its kind remembers besides.
#[derive(Debug)]
pub struct State<M> {
    /// The roots and delegations trusted; none while not pinned.
    pub trust: Option<Trust>,
    /// By role.
    pub roles: BTreeMap<RoleName, RoleState>,
    /// What proved that this state is older than what the key signed; nothing is signed any more then.
    pub halted: Option<String>,
    /// What this kind of signer remembers besides.
    pub memory: M,
}

impl<M> State<M> {
    pub(crate) fn load(store: &Store, memory: M) -> Result<Self> {
        let mut roles = BTreeMap::new();
        each_role(store, ROLES, |role, value| {
            let row = decode(role.as_str(), value)?;
            roles.insert(role, row);
            Ok(())
        })?;
        Ok(Self { trust: Trust::load(store)?, roles, halted: row(store, HALTED)?, memory })
    }

    /// What is known of `role`; empty for one never seen.
    #[must_use]
    pub fn role(&self, role: &RoleName) -> RoleState {
        self.roles.get(role).cloned().unwrap_or_default()
    }
}
