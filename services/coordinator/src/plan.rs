//! What the next batch is: which submissions, and the next version of which roles.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rstuf_api::{limits, proto::signer::v1 as proto};
use rstuf_tuf::{Change, RoleName, Version};
use uuid::Uuid;

use crate::{
    Error, Repository, Result, intake,
    journal::{
        Journal,
        rows::{BatchRow, RolePlan, SubmissionRow},
    },
    published::Published,
    queue::Selection,
    signers,
};

/// Roles renewed with one batch: more wait for the next one.
const RENEWALS_PER_BATCH_MAX: usize = 1_024;

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
        self.visit(|_, _, changes| {
            for (role, _) in changes {
                *counts.entry(role).or_insert(0) += 1;
            }
            Ok(())
        })?;
        Ok(counts)
    }

    fn collect(&self, wanted: &BTreeSet<RoleName>) -> Result<BTreeMap<RoleName, Vec<proto::SubmittedChange>>> {
        let mut by_role: BTreeMap<RoleName, Vec<_>> = BTreeMap::new();
        self.visit(|index, _, changes| {
            for (role, change) in changes.iter().filter(|(role, _)| wanted.contains(role)) {
                let submission = u32::try_from(index).unwrap_or(u32::MAX);
                let change = proto::SubmittedChange { submission, change: Some(change.into()) };
                by_role.entry(role.clone()).or_default().push(change);
            }
            Ok(())
        })?;
        Ok(by_role)
    }

    /// Gives every message of the signing request of `batch` to `send`, in order, with bounded memory. Stops when `send`
    /// answers false: nobody listens.
    ///
    /// # Errors
    /// As [`Changes::visit`].
    pub(crate) fn request(
        &self,
        batch: &BatchRow,
        mut send: impl FnMut(proto::SignTargetsRequest) -> bool,
    ) -> Result<()> {
        use proto::sign_targets_request::Part;
        let header = signers::header(&self.repository.id, batch.id);
        if !send(proto::SignTargetsRequest { part: Some(Part::Header(header)) }) {
            return Ok(());
        }
        let counts = if batch.applied.is_some() { BTreeMap::new() } else { self.count()? };
        for slice in slices(&batch.roles, &counts) {
            let wanted = slice.iter().map(|plan| plan.role.clone()).collect();
            let mut changes = if counts.is_empty() { BTreeMap::new() } else { self.collect(&wanted)? };
            for plan in slice {
                for message in role_messages(plan, changes.remove(&plan.role).unwrap_or_default()) {
                    if !send(proto::SignTargetsRequest { part: Some(Part::RoleChanges(message)) }) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
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

fn role_messages(plan: &RolePlan, changes: Vec<proto::SubmittedChange>) -> Vec<proto::RoleChanges> {
    let mut chunks = changes.chunks(limits::CHANGES_PER_SIGNING_MESSAGE_MAX);
    let first = proto::RoleChanges {
        role: plan.role.to_string(),
        revision: Some(revision(plan.base.as_ref(), plan.version, plan.expires)),
        renew: plan.renew,
        changes: chunks.next().unwrap_or_default().to_vec(),
    };
    let more = chunks.map(|chunk| proto::RoleChanges {
        role: plan.role.to_string(),
        revision: None,
        renew: false,
        changes: chunk.to_vec(),
    });
    std::iter::once(first).chain(more).collect()
}

/// A revision as messages hold it.
pub(crate) fn revision(base: Option<&rstuf_api::DocumentRef>, version: Version, expires: Timestamp) -> proto::Revision {
    proto::Revision { base: base.map(Into::into), version: version.get(), expires_unix_seconds: expires.as_second() }
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
