//! What the next batch is: which submissions, and the next version of which roles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use prost::Message as _;
use rstuf_api::{
    convert, limits,
    proto::{artifacts::v1 as artifacts, signer::v1 as proto},
};
use rstuf_tuf::{Change, RoleName, Version};
use uuid::Uuid;

use crate::{
    Error, Repository, Result, intake,
    intake::queue::Selection,
    journal::{
        Journal,
        rows::{BatchRow, RolePlan, SubmissionRow},
    },
    published::Published,
    signers,
};

/// Roles renewed with one batch: more wait for the next one.
const RENEWALS_PER_BATCH_MAX: usize = 1_024;

/// Bytes of changes in one message of a signing request; a signer refuses messages that are larger than a document.
const CHANGES_BYTES_PER_MESSAGE: usize = 4 * 1024 * 1024;

/// Changes in memory at a time while a signing request is made. A larger batch is read several times instead.
const CHANGES_IN_MEMORY_MAX: u64 = 100_000;

/// The changes of a batch, where they stand: in the journal.
#[derive(Clone)]
pub(crate) struct Changes {
    journal: Journal,
    repository: std::sync::Arc<Repository>,
    submissions: Vec<SubmissionRow>,
}

impl Changes {
    /// Those of submissions, by number.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) fn new(journal: &Journal, repository: std::sync::Arc<Repository>, submissions: &[u64]) -> Result<Self> {
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
                let changes = intake::decode(row.task, part, &self.journal.part(row.task, part)?)?;
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

    fn collect(&self, wanted: &BTreeSet<RoleName>) -> Result<BTreeMap<RoleName, Vec<proto::SubmittedChange>>> {
        let mut by_role: BTreeMap<RoleName, Vec<_>> = BTreeMap::new();
        self.walk(|index, role, change| {
            if wanted.contains(&role) {
                let submission = u32::try_from(index).unwrap_or(u32::MAX);
                by_role.entry(role).or_default().push(proto::SubmittedChange { submission, change: Some(change) });
            }
        })?;
        Ok(by_role)
    }

    /// Visits the changes one by one, as messages: a large batch is walked over many times.
    fn walk(&self, mut visit: impl FnMut(usize, RoleName, artifacts::Change)) -> Result<()> {
        for (index, row) in self.submissions.iter().enumerate() {
            for part in 0..row.parts {
                let changes = intake::decode_messages(row.task, part, &self.journal.part(row.task, part)?)?;
                changes.into_iter().for_each(|(path, change)| visit(index, self.repository.role_for(&path), change));
            }
        }
        Ok(())
    }

    /// Gives every message of the signing request of `batch` to `send`, in order, with bounded memory. Stops when `send`
    /// answers false: nobody listens. Answers the number of changes of each role, which is that of the outcomes to come.
    ///
    /// # Errors
    /// As [`Changes::visit`].
    pub(crate) fn request(
        &self,
        batch: &BatchRow,
        mut send: impl FnMut(proto::SignTargetsRequest) -> bool,
    ) -> Result<BTreeMap<RoleName, u64>> {
        use proto::sign_targets_request::Part;
        let header = signers::header(&self.repository.id, batch.id);
        if !send(proto::SignTargetsRequest { part: Some(Part::Header(header)) }) {
            return Ok(BTreeMap::new());
        }
        let counts = if batch.applied.is_some() { BTreeMap::new() } else { self.count()? };
        for slice in slices(&batch.roles, &counts) {
            let wanted = slice.iter().map(|plan| plan.role.clone()).collect();
            let mut changes = if counts.is_empty() { BTreeMap::new() } else { self.collect(&wanted)? };
            for plan in slice {
                for message in role_messages(plan, changes.remove(&plan.role).unwrap_or_default()) {
                    if !send(proto::SignTargetsRequest { part: Some(Part::RoleChanges(message)) }) {
                        return Ok(counts);
                    }
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

/// The messages for one role, each of bounded number and bytes; only the first has the revision.
fn role_messages(plan: &RolePlan, changes: Vec<proto::SubmittedChange>) -> Vec<proto::RoleChanges> {
    let mut current = proto::RoleChanges {
        role: plan.role.to_string(),
        revision: Some(revision(plan.base.as_ref(), plan.version, plan.expires)),
        renew: plan.renew,
        changes: Vec::new(),
    };
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for change in changes {
        let size = change.encoded_len();
        let full = current.changes.len() == limits::CHANGES_PER_SIGNING_MESSAGE_MAX
            || (bytes + size > CHANGES_BYTES_PER_MESSAGE && !current.changes.is_empty());
        if full {
            let next =
                proto::RoleChanges { role: plan.role.to_string(), revision: None, renew: false, changes: Vec::new() };
            messages.push(std::mem::replace(&mut current, next));
            bytes = 0;
        }
        bytes += size;
        current.changes.push(change);
    }
    messages.push(current);
    messages
}

/// A revision as messages hold it.
pub(crate) fn revision(base: Option<&rstuf_api::DocumentRef>, version: Version, expires: Timestamp) -> proto::Revision {
    proto::Revision {
        base: base.map(Into::into),
        version: version.get(),
        expires: Some(convert::timestamp_message(expires)),
    }
}

/// Makes the next batch of what was taken from the queue and of what has to be renewed; none if there is neither.
///
/// # Errors
/// [`Error::Store`], [`Error::Journal`], [`Error::VersionsExhausted`].
pub(crate) fn batch(
    selection: &Selection,
    changes: &Changes,
    published: &Published,
    id: Uuid,
    now: Timestamp,
) -> Result<Option<BatchRow>> {
    let repository = &changes.repository;
    let renew: BTreeSet<RoleName> = published.due(repository, now, RENEWALS_PER_BATCH_MAX).into_iter().collect();
    let mut roles: BTreeSet<RoleName> = changes.count()?.into_keys().collect();
    roles.extend(renew.iter().cloned());
    if roles.is_empty() && selection.publishes.is_empty() {
        return Ok(None);
    }
    let plan = |role: RoleName| {
        let base = published.role(&role).map(|row| row.reference(&role));
        let version = next_version(&role, base.as_ref().map(|base| base.version))?;
        let expires = repository.expiry(&role, now);
        Ok(RolePlan { base, version, expires, renew: renew.contains(&role), role })
    };
    Ok(Some(BatchRow {
        id,
        submissions: selection.submissions.iter().map(|entry| entry.seq).collect(),
        publishes: selection.publishes.clone(),
        roles: roles.into_iter().map(plan).collect::<Result<_>>()?,
        offline: Vec::new(),
        applied: None,
        signed: None,
    }))
}

/// The same batch under another id, with expiries as of now: for one that was never signed, because its own have passed.
pub(crate) fn with_new_expiries(repository: &Repository, batch: &BatchRow, id: Uuid, now: Timestamp) -> BatchRow {
    let count = batch.roles.len();
    let renewed = |(index, plan): (usize, &RolePlan)| {
        let expires = match plan.base {
            None if plan.renew => repository.first_expiry(&plan.role, index, count, now),
            _ => repository.expiry(&plan.role, now),
        };
        RolePlan { expires, ..plan.clone() }
    };
    BatchRow { id, roles: batch.roles.iter().enumerate().map(renewed).collect(), ..batch.clone() }
}

/// The version after `base`.
///
/// # Errors
/// [`Error::VersionsExhausted`].
pub(crate) fn next_version(role: &RoleName, base: Option<Version>) -> Result<Version> {
    match base {
        None => Ok(Version::ONE),
        Some(base) => base.next().ok_or_else(|| Error::VersionsExhausted { role: role.clone() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan(role: &str) -> RolePlan {
        let expires = Timestamp::UNIX_EPOCH;
        RolePlan { role: role.parse().unwrap(), base: None, version: Version::ONE, expires, renew: false }
    }

    /// Every role is in exactly one slice, in order, and no slice but that of a single role is over the bound.
    #[test]
    fn slices_are_bounded_and_whole() {
        let roles: Vec<RolePlan> = (0..9).map(|bin| plan(&format!("bins-{bin}"))).collect();
        let sizes = [0, 60_000, 40_000, 1, 99_999, 1, 250_000, 0, 100_000];
        let counts = roles.iter().map(|plan| plan.role.clone()).zip(sizes).collect();
        let slices = slices(&roles, &counts);
        let lengths: Vec<_> = slices.iter().map(|slice| slice.len()).collect();
        assert_eq!(lengths, [3, 2, 1, 1, 2]);
        assert_eq!(slices.concat(), roles);
        assert_eq!(super::slices(&[], &BTreeMap::new()), [&[] as &[RolePlan]]);
    }

    /// Messages stay below what a signer takes, however large the changes, and none is left out or out of order.
    #[test]
    fn messages_are_bounded_and_whole() {
        let change = |submission: u32, bytes: usize| {
            let kind = rstuf_api::proto::artifacts::v1::change::Kind::RemovePath("p".repeat(bytes));
            let change = rstuf_api::proto::artifacts::v1::Change { kind: Some(kind) };
            proto::SubmittedChange { submission, change: Some(change) }
        };
        let small = limits::CHANGES_PER_SIGNING_MESSAGE_MAX as u32 * 2 + 1;
        let mut changes: Vec<_> = (0..small).map(|number| change(number, 10)).collect();
        changes.extend((small..small + 2_000).map(|number| change(number, 17_000)));
        let messages = role_messages(&plan("bins-0"), changes.clone());
        assert!(messages.iter().all(|message| message.encoded_len() < limits::DOCUMENT_MESSAGE_BYTES_MAX / 2));
        assert!(messages.iter().all(|message| message.changes.len() <= limits::CHANGES_PER_SIGNING_MESSAGE_MAX));
        assert!(messages.iter().skip(1).all(|message| message.revision.is_none() && !message.changes.is_empty()));
        assert!(messages[0].revision.is_some());
        assert_eq!(messages.into_iter().flat_map(|message| message.changes).collect::<Vec<_>>(), changes);
        assert_eq!(role_messages(&plan("bins-0"), Vec::new()).len(), 1);
    }
}
