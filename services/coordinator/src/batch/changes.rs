//! The changes of a batch, where they stand, and the signing request that they make.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rstuf_tuf::{Change, RoleName};

use crate::{
    Repository, Result,
    journal::{
        Journal, StoredChange,
        rows::{BatchRow, RolePlan, SubmissionRow},
    },
    signers::TargetsMessage,
};

/// Changes in memory at a time while a signing request is made. A larger batch is read several times instead.
const CHANGES_IN_MEMORY_MAX: u64 = 100_000;

/// The changes of a batch, where they stand: in the journal.
#[derive(Clone)]
pub(crate) struct Changes {
    journal: Journal,
    repository: Arc<Repository>,
    submissions: Vec<SubmissionRow>,
}

impl Changes {
    /// Those of submissions, by number.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) fn new(journal: &Journal, repository: Arc<Repository>, submissions: &[u64]) -> Result<Self> {
        let submissions = submissions.iter().map(|seq| journal.submission(*seq)).collect::<Result<_>>()?;
        Ok(Self { journal: journal.clone(), repository, submissions })
    }

    /// The repository that they are for.
    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The submissions, in order.
    pub(crate) fn submissions(&self) -> &[SubmissionRow] {
        &self.submissions
    }

    /// Visits the parts in order: index of the submission, number of the part, its changes with the role of each.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`], and what `visit` answers.
    pub(crate) fn visit(&self, mut visit: impl FnMut(usize, u32, Vec<(RoleName, Change)>) -> Result<()>) -> Result<()> {
        for (index, row) in self.submissions.iter().enumerate() {
            for part in 0..row.parts {
                let changes = self.journal.changes(row.task, part)?;
                let with_role = |change: Change| (self.repository.role_for(change.path()), change);
                visit(index, part, changes.into_iter().map(with_role).collect())?;
            }
        }
        Ok(())
    }

    /// Number of changes of each role.
    ///
    /// # Errors
    /// As [`Changes::visit`].
    pub(crate) fn count(&self) -> Result<BTreeMap<RoleName, u64>> {
        let mut counts = BTreeMap::new();
        self.walk(|_, role, _| *counts.entry(role).or_insert(0) += 1)?;
        Ok(counts)
    }

    fn collect(&self, wanted: &BTreeSet<RoleName>) -> Result<BTreeMap<RoleName, Vec<(usize, StoredChange)>>> {
        let mut by_role: BTreeMap<RoleName, Vec<_>> = BTreeMap::new();
        self.walk(|index, role, change| {
            if wanted.contains(&role) {
                by_role.entry(role).or_default().push((index, change));
            }
        })?;
        Ok(by_role)
    }

    /// Visits the changes one by one, as they are sent on: a large batch is walked over many times.
    fn walk(&self, mut visit: impl FnMut(usize, RoleName, StoredChange)) -> Result<()> {
        for (index, row) in self.submissions.iter().enumerate() {
            for part in 0..row.parts {
                for change in self.journal.stored_changes(row.task, part, 0)? {
                    let change = change?;
                    visit(index, self.repository.role_for(change.path()), change);
                }
            }
        }
        Ok(())
    }

    /// Gives every message of the signing request of `batch` to `send`, in order, with bounded memory. Stops when
    /// `send` answers false: nobody listens. Answers the number of changes of each role, which is that of the outcomes
    /// to come.
    ///
    /// # Errors
    /// As [`Changes::visit`].
    pub(crate) fn request(
        &self,
        batch: &BatchRow,
        mut send: impl FnMut(TargetsMessage) -> bool,
    ) -> Result<BTreeMap<RoleName, u64>> {
        if !send(TargetsMessage::header(&self.repository.id, batch.id)) {
            return Ok(BTreeMap::new());
        }
        let counts = if batch.applied.is_some() { BTreeMap::new() } else { self.count()? };
        for slice in slices(&batch.roles, &counts) {
            let wanted = slice.iter().map(|plan| plan.role.clone()).collect();
            let mut changes = if counts.is_empty() { BTreeMap::new() } else { self.collect(&wanted)? };
            for plan in slice {
                let changes = changes.remove(&plan.role).unwrap_or_default();
                if !TargetsMessage::role(plan, changes).all(&mut send) {
                    return Ok(counts);
                }
            }
        }
        Ok(counts)
    }
}

/// Runs of roles with at most [`CHANGES_IN_MEMORY_MAX`] changes together, or one role with more.
fn slices<'a>(roles: &'a [RolePlan], counts: &BTreeMap<RoleName, u64>) -> Vec<&'a [RolePlan]> {
    let mut slices = Vec::new();
    let (mut start, mut changes) = (0, 0);
    for (index, plan) in roles.iter().enumerate() {
        let count = counts.get(&plan.role).copied().unwrap_or(0);
        if index > start && changes + count > CHANGES_IN_MEMORY_MAX {
            slices.push(&roles[start..index]);
            (start, changes) = (index, 0);
        }
        changes += count;
    }
    slices.push(&roles[start..]);
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every role is in exactly one slice, in order, and no slice but that of a single role is over the bound.
    #[test]
    fn slices_are_bounded_and_whole() {
        let roles: Vec<RolePlan> = (0..9).map(|bin| RolePlan::first(&format!("bins-{bin}"))).collect();
        let sizes = [0, 60_000, 40_000, 1, 99_999, 1, 250_000, 0, 100_000];
        let counts = roles.iter().map(|plan| plan.role.clone()).zip(sizes).collect();
        let slices = slices(&roles, &counts);
        let lengths: Vec<_> = slices.iter().map(|slice| slice.len()).collect();
        assert_eq!(lengths, [3, 2, 1, 1, 2]);
        assert_eq!(slices.concat(), roles);
        assert_eq!(super::slices(&[], &BTreeMap::new()), [&[] as &[RolePlan]]);
    }
}
