//! What the snapshot signer remembers of each role: facts, not bodies.

use std::{collections::BTreeMap, sync::Arc};

use rstuf_signing::{Budget, Reset, Result, rows};
use rstuf_store::Store;
use rstuf_tuf::{KeyId, Known, RoleKeys, RoleName, Snapshot};
use serde::{Deserialize, Serialize};

const FACTS: &str = "fact/";

/// What was verified of the newest document of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub known: Known,
    /// Keys of the role that validly signed it, in order.
    pub keys: Vec<KeyId>,
    /// What is spent of its role's versions.
    #[serde(default)]
    pub budget: Budget,
}

impl Fact {
    /// Whether the signatures that were valid when it was verified also meet these keys and this threshold.
    pub(crate) fn meets(&self, role: &RoleKeys) -> bool {
        let valid = self.keys.iter().filter(|key| role.contains(key)).count();
        u32::try_from(valid).unwrap_or(u32::MAX) >= role.threshold()
    }
}

/// Facts by role.
pub(crate) type Facts = BTreeMap<RoleName, Fact>;

/// Facts, and the base, if it was made of them by this process.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub facts: Arc<Facts>,
    pub base: Option<(Known, Arc<Snapshot>)>,
}

impl Memory {
    pub(crate) fn load(store: &Store) -> Result<Self> {
        let mut facts = Facts::new();
        rows::each_role(store, FACTS, |role, value| {
            let row = rows::decode(role.as_str(), value)?;
            facts.insert(role, row);
            Ok(())
        })?;
        Ok(Self { facts: Arc::new(facts), base: None })
    }
}

pub(crate) fn fact_row(role: &RoleName) -> String {
    format!("{FACTS}{role}")
}

/// Sets right what a wrong clock left behind.
pub(crate) fn reset(store: &Store, reset: &mut Reset) -> Result<()> {
    for (role, fact) in Memory::load(store)?.facts.iter() {
        let row = |budget| (fact_row(role), rows::encode(&Fact { budget, ..fact.clone() }));
        reset.budget(&format!("{role} shown"), fact.budget, row);
    }
    Ok(())
}
