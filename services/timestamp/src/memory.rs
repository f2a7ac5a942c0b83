//! What the timestamp signer remembers of the snapshots that it was shown.

use rstuf_signing::{Budget, Reset, Result, rows};
use rstuf_store::Store;

/// The row of [`Memory::budget`].
pub(crate) const BUDGET: &str = "snapshot_budget";

/// How fast their versions rise.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// What is spent of their versions.
    pub budget: Budget,
}

impl Memory {
    pub(crate) fn load(store: &Store) -> Result<Self> {
        Ok(Self { budget: rows::row(store, BUDGET)?.unwrap_or_default() })
    }
}

/// Sets right what a wrong clock left behind.
pub(crate) fn reset(store: &Store, reset: &mut Reset) -> Result<()> {
    let budget = Memory::load(store)?.budget;
    reset.budget("snapshots shown", budget, |budget| (BUDGET.to_owned(), rows::encode(&budget)));
    Ok(())
}
