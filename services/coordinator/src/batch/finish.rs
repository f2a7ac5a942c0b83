//! The end of a batch: results and tasks. The same code ends a batch that ran through and one that was found after a
//! crash, because it reads everything from the journal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rstuf_api::DocumentRef;
use rstuf_tuf::{Change, Outcome, Outcomes, RoleName};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::changes::Changes;
use crate::{
    Result,
    handles::Handles,
    intake::queue::{self, Selection},
    journal::{
        Entry, Journal,
        rows::{BatchRow, Counts, SignedRoles, Standing, SubmissionRow, TaskError, TaskRow, TaskState},
        unusable_batch,
    },
    published::index::Update,
};

/// Results that are journalled at once; more go ahead of the entry that ends the batch, which alone makes them visible.
const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Tasks that follow this batch.
pub(crate) fn tasks(changes: &Changes, batch: &BatchRow) -> Vec<Uuid> {
    let submissions = changes.submissions().iter().map(|row| row.task);
    submissions.chain(batch.publishes.iter().map(|(_, task)| *task)).collect()
}

/// A batch that clients see, or that changed nothing.
pub(crate) struct Completion<'a> {
    /// Where it is written.
    pub handles: &'a Handles,
    /// What it carried.
    pub changes: &'a Changes,
    /// The batch.
    pub batch: &'a BatchRow,
    /// How its changes ended.
    pub signed: &'a SignedRoles,
    /// The publication that made it visible; 0 if nothing had to change.
    pub publication: u64,
    /// When.
    pub now: Timestamp,
    /// Roles whose documents say themselves what becomes listed, because not all in them is of this batch.
    pub relisted: &'a BTreeSet<RoleName>,
}

impl Completion<'_> {
    /// Writes into `entry` that every task of the batch is done, and into `update` what that changes in the list of
    /// artifacts. Blocks; must run on a blocking thread of the runtime.
    ///
    /// # Errors
    /// [`crate::Error::Store`], [`crate::Error::Journal`].
    pub(crate) fn write(&self, entry: &mut Entry, update: &mut Update) -> Result<Vec<Uuid>> {
        let (counts, results) = self.write_results(update)?;
        entry.append(results);
        entry.set_batch(None);
        let submissions = self.batch.submissions.iter().zip(self.changes.submissions()).zip(counts);
        let mut held = Vec::new();
        for ((seq, row), counts) in submissions {
            entry.delete_submission(*seq, row);
            self.finish_task(entry, row.task, row.changes, counts)?;
            if row.hold {
                held.push((*seq, row, counts));
            }
        }
        for (publish, task) in &self.batch.publishes {
            entry.delete_publish(*publish);
            let covered: Vec<_> = held.iter().filter(|(seq, ..)| seq < publish).collect();
            let tasks: Vec<Uuid> = covered.iter().map(|(_, row, _)| row.task).collect();
            if !tasks.is_empty() {
                entry.put_covered(*task, &tasks);
            }
            let changes = covered.iter().map(|(_, row, _)| row.changes).sum();
            let counts = covered.iter().map(|(.., counts)| *counts).fold(Counts::default(), Counts::plus);
            self.finish_task(entry, *task, changes, counts)?;
        }
        Ok(tasks(self.changes, self.batch))
    }

    /// Journals results ahead, and answers those that are left for the entry that ends the batch: nothing else of that
    /// entry may become durable before all of it does.
    fn write_results(&self, update: &mut Update) -> Result<(Vec<Counts>, Entry)> {
        let mut entry = Entry::new();
        // By the places of roles: what is left of the outcomes, and whether the changes are listed.
        let mut roles = HashMap::new();
        let role_of = |change: &Change| self.changes.repository().role_for(change.path());
        let found = |role: RoleName| {
            let outcomes = self.signed.outcomes.get(&role).into_iter().flat_map(Outcomes::iter);
            (outcomes, !self.relisted.contains(&role))
        };
        let mut counts = vec![Counts::default(); self.changes.submissions().len()];
        self.changes.visit(|submission, part, changes| {
            let mut outcomes = Vec::with_capacity(changes.len());
            for (place, change) in &changes {
                let (left, listed) = roles.entry(*place).or_insert_with(|| found(role_of(change)));
                let missing = || unusable_batch(&format!("too few outcomes for {}", role_of(change)));
                let outcome = left.next().ok_or_else(missing)?;
                counts[submission].count(outcome);
                if *listed {
                    list(update, change, outcome);
                }
                outcomes.push(outcome);
            }
            let results = changes.iter().zip(outcomes).map(|((_, change), outcome)| (change.path(), outcome));
            entry.put_results(self.changes.submissions()[submission].task, part, results);
            if entry.size_bytes() > RESULT_BYTES_MAX {
                let ahead = std::mem::take(&mut entry);
                Handle::current().block_on(self.handles.commit(ahead))?;
            }
            Ok(())
        })?;
        Ok((counts, entry))
    }

    fn finish_task(&self, entry: &mut Entry, task: Uuid, changes: u64, counts: Counts) -> Result<()> {
        let row = self.handles.journal.named_task(task)?;
        let (state, publication) = (TaskState::Done, self.publication);
        let done = TaskRow { state, finished: Some(self.now), publication, changes, counts, ..row };
        entry.put_task(task, &done);
        Ok(())
    }
}

/// Lists what a change made of its path, if it made a difference.
fn list(update: &mut Update, change: &Change, outcome: Outcome) {
    match (outcome, change) {
        (Outcome::Added | Outcome::Replaced, Change::Add { path, target }) => update.put(path, Some(target)),
        (Outcome::Removed, change) => update.put(change.path(), None),
        (Outcome::Added | Outcome::Replaced | Outcome::Unchanged | Outcome::NotFound, _) => {}
    }
}

/// Writes into `entry` that the submissions at fault failed.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Journal`].
pub(crate) fn fail(
    journal: &Journal,
    entry: &mut Entry,
    changes: &Changes,
    batch: &BatchRow,
    at_fault: &BTreeSet<usize>,
    error: &TaskError,
    now: Timestamp,
) -> Result<()> {
    let rows = batch.submissions.iter().zip(changes.submissions()).enumerate();
    for (_, (seq, row)) in rows.filter(|(index, _)| at_fault.contains(index)) {
        entry.delete_submission(*seq, row);
        let task = journal.named_task(row.task)?;
        let ended = TaskRow { state: TaskState::Failed, finished: Some(now), error: Some(error.clone()), ..task };
        entry.put_task(row.task, &ended);
    }
    Ok(())
}

/// What is left of a batch without the submissions at fault, to be queued again as it was, and to go without newcomers.
/// Blocks.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Journal`].
pub(crate) fn rest(changes: &Changes, batch: &BatchRow, at_fault: &BTreeSet<usize>) -> Result<Selection> {
    let rows = || batch.submissions.iter().zip(changes.submissions()).enumerate();
    let mut paths: BTreeMap<usize, Vec<queue::PathKey>> = BTreeMap::new();
    // Otherwise nobody asks for paths: whatever they share with held submissions was taken along with them.
    if rows().any(|(_, (_, row))| row.hold) {
        changes.visit(|index, _, changes| {
            let keys = changes.iter().map(|(_, change)| queue::path_key(change.path()));
            paths.entry(index).or_default().extend(keys);
            Ok(())
        })?;
    }
    let rest = rows().filter(|(index, _)| !at_fault.contains(index));
    let entry = |(index, (seq, row)): (usize, (&u64, &SubmissionRow))| queue::Entry {
        paths: paths.remove(&index).unwrap_or_default(),
        ..waiting(*seq, row)
    };
    let rest = Selection { submissions: rest.map(entry).collect(), publishes: batch.publishes.clone() };
    Ok(rest.without_newcomers())
}

/// What was signed for a batch: its documents, or those of an earlier round. What was collected has no plan: whoever
/// asked for that, it is published with what comes next.
pub(crate) fn signed(batch: &BatchRow) -> Vec<DocumentRef> {
    let planned: BTreeSet<&RoleName> = batch.roles.iter().map(|plan| &plan.role).collect();
    let earlier = batch.roles.iter().filter(|_| batch.applied.is_some()).filter_map(|plan| plan.revision.base.as_ref());
    let signed = batch.signed.iter().flat_map(|signed| &signed.documents).map(|document| &document.reference);
    let documents = earlier.chain(signed).filter(|document| planned.contains(&document.role));
    // Of a role that stands twice the later one counts.
    let documents: BTreeMap<_, _> = documents.map(|document| (&document.role, document)).collect();
    documents.into_values().cloned().collect()
}

/// As it waits.
fn waiting(seq: u64, row: &SubmissionRow) -> queue::Entry {
    let SubmissionRow { task, changes, bytes, hold, standing, .. } = *row;
    queue::Entry { seq, task, changes, bytes, hold, standing, paths: Vec::new() }
}

/// Writes into `entry` that the submissions of a batch that was refused are asked for again with `standing`, and
/// answers them. What was held of them is not any more: it was to be published. What it shares paths with comes along,
/// so nobody asks for its paths.
///
/// # Errors
/// [`crate::Error::Store`], [`crate::Error::Journal`].
pub(crate) fn doubt(
    journal: &Journal,
    entry: &mut Entry,
    changes: &Changes,
    batch: &BatchRow,
    standing: Standing,
    error: &TaskError,
) -> Result<Selection> {
    let mut submissions = Vec::with_capacity(batch.submissions.len());
    for (seq, row) in batch.submissions.iter().zip(changes.submissions()) {
        let row = SubmissionRow { hold: false, standing, ..row.clone() };
        entry.put_submission(*seq, &row);
        let (state, error) = match standing {
            Standing::SetAside => (TaskState::SetAside, Some(error.clone())),
            Standing::Trusted | Standing::Suspect(_) => (TaskState::Waiting, None),
        };
        entry.put_task(row.task, &TaskRow { state, error, ..journal.named_task(row.task)? });
        submissions.push(waiting(*seq, &row));
    }
    Ok(Selection { submissions, publishes: batch.publishes.clone() })
}
