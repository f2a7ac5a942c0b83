//! What a wrong clock left behind, set right by an operator on the signer's own machine: nobody may do that from afar.

use std::fmt::Write as _;

use jiff::Timestamp;
use rstuf_runtime::{Clock, Reading};
use rstuf_store::{Batch, Options, Store};
use rstuf_tuf::{RoleName, TopLevel};

use crate::{
    Budget, Result, SignerConfig,
    key::{self, StartError},
    rows::{self, ROLES, RoleState},
    times::Times,
};

/// How many roles are told one by one.
const TOLD_MAX: usize = 10;

/// What is set right, as of now.
#[derive(Debug)]
pub struct Reset {
    now: Timestamp,
    batch: Batch,
    told: Vec<String>,
}

impl Reset {
    fn new(now: Timestamp) -> Self {
        Self { now, batch: Batch::new(), told: Vec::new() }
    }

    /// The time that holds.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Puts a row that is right, and tells how it was before.
    pub fn put(&mut self, row: String, value: Vec<u8>, told: String) {
        self.batch.put(row, value);
        self.told.push(told);
    }

    /// Sets a budget of `what` right, if it was spent at a time that has not come yet: it is spent up to now. `put` is
    /// its row with another budget.
    pub fn budget(&mut self, what: &str, budget: Budget, put: impl FnOnce(Budget) -> (String, Vec<u8>)) {
        let right = budget.spent_by(self.now);
        if right == budget {
            return;
        }
        let (row, value) = put(right);
        let (old, new) = (budget.due(), right.due());
        self.put(row, value, format!("versions of {what}: spent until {old:.0} before, {new:.0} now"));
    }

    /// For people.
    fn report(&self, before: &Times, after: &Times) -> String {
        let or_never = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |time| format!("{time:.0}"));
        let wall = |anchor: &Option<Reading>| or_never(anchor.as_ref().map(|anchor| anchor.wall));
        let mut text =
            format!("the clock says {:.0}, which is taken for the time: make sure that it is right\n", self.now);
        let rows = [
            ("last signature", or_never(before.seen), or_never(after.seen)),
            ("last time noted", wall(&before.anchor), wall(&after.anchor)),
        ];
        for (name, old, new) in rows {
            // Writing to a text can't fail.
            let _ = writeln!(text, "{name}: {old} before, {new} now");
        }
        for told in self.told.iter().take(TOLD_MAX) {
            let _ = writeln!(text, "{told}");
        }
        if let Some(more @ 1..) = self.told.len().checked_sub(TOLD_MAX) {
            let _ = writeln!(text, "so it is with {more} more");
        }
        text + "versions, and what was signed, are as they were: start the signer again\n"
    }
}

/// Sets right what a wrong clock left in a signer's state directory, and says what that was: the last time known, and
/// budgets that were spent at a time which has not come yet. Versions and watermarks stay. `own` does the same with
/// what this kind of signer remembers besides.
///
/// # Errors
/// [`StartError::NoKey`] where there is no signer; as the store's, among others while the signer runs.
pub async fn reset_clock(
    group: TopLevel,
    config: &SignerConfig,
    clock: &Clock,
    own: impl FnOnce(&Store, &mut Reset) -> Result<()>,
) -> std::result::Result<String, StartError> {
    let dir = &config.common.state_dir;
    if !dir.join(key::FILE).exists() {
        return Err(StartError::NoKey { dir: dir.clone() });
    }
    let store = Store::open(Options::new(dir, group.as_str()))?;
    let now = clock.reading();
    let before = Times::load(&store)?;
    let after = Times { seen: before.seen.map(|seen| seen.min(now.wall)), anchor: Some(now.clone()) };
    let mut reset = Reset::new(now.wall);
    after.put(&mut reset.batch);
    rows::each_role(&store, ROLES, |role, value| {
        let state: RoleState = rows::decode(role.as_str(), value)?;
        let row = |budget| role_row(&role, RoleState { budget, ..state.clone() });
        reset.budget(role.as_str(), state.budget, row);
        Ok(())
    })?;
    own(&store, &mut reset)?;
    let report = reset.report(&before, &after);
    store.commit(reset.batch).await?;
    store.close().await?;
    Ok(report)
}

fn role_row(role: &RoleName, state: RoleState) -> (String, Vec<u8>) {
    (rows::role_row(role), rows::encode(&state))
}
