//! Everything that a signer remembers, in memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rstuf_store::Store;
use rstuf_tuf::RoleName;

use crate::{
    Result, Trust,
    rows::{HALTED, ROLES, RoleState, SEEN, corrupt, decode, each_row, row},
};

/// Everything that one signer remembers; `M` is what its kind remembers besides.
#[derive(Debug)]
pub struct State<M> {
    /// The roots and delegations trusted; none while not pinned.
    pub trust: Option<Trust>,
    /// By role.
    pub roles: BTreeMap<RoleName, RoleState>,
    /// The highest time at which something was signed.
    pub seen: Option<Timestamp>,
    /// What proved that this state is older than what the key signed; nothing is signed any more then.
    pub halted: Option<String>,
    /// What this kind of signer remembers besides.
    pub memory: M,
}

impl<M> State<M> {
    pub(crate) fn load(store: &Store, memory: M) -> Result<Self> {
        let mut roles = BTreeMap::new();
        each_row(store, ROLES, |name, value| {
            let role = name.parse().map_err(|error| corrupt(name, error))?;
            roles.insert(role, decode(name, value)?);
            Ok(())
        })?;
        let seen = row(store, SEEN)?.map(|second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX));
        Ok(Self { trust: Trust::load(store)?, roles, seen, halted: row(store, HALTED)?, memory })
    }

    /// What is known of `role`; empty for one never seen.
    #[must_use]
    pub fn role(&self, role: &RoleName) -> RoleState {
        self.roles.get(role).cloned().unwrap_or_default()
    }
}
