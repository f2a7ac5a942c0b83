//! What a start finds in the journal.

use std::collections::{BTreeMap, HashSet};

use uuid::Uuid;

use super::queue::{self, PathKey, Queue, paths};
use crate::{
    Result,
    journal::{
        Entry, Journal,
        rows::{BatchRow, ImportRow, Standing, SubmissionRow},
    },
};

/// Parts deleted with one entry.
const DELETED_PER_ENTRY: usize = 10_000;

/// What was acknowledged and is not finished, without what the batch under way carries; and the last number given.
pub(super) fn queue(journal: &Journal, batch: Option<&BatchRow>) -> Result<(Queue, u64)> {
    let mut queue = Queue::default();
    let mut last = 0;
    let under_way: HashSet<u64> = batch.iter().flat_map(|batch| batch.submissions.iter().copied()).collect();
    let submissions = journal.submissions()?;
    let any_held = submissions.iter().any(|(_, row)| row.hold);
    for (seq, row) in submissions {
        last = last.max(seq);
        let SubmissionRow { task, parts, changes, bytes, hold, standing, .. } = row;
        let mut entry = queue::Entry { seq, task, changes, bytes, hold, standing, paths: Vec::new() };
        if under_way.contains(&seq) {
            queue.set_under_way(&entry);
            continue;
        }
        if standing == Standing::SetAside {
            queue.set_aside.put(entry);
            continue;
        }
        if any_held {
            entry.paths = stored_paths(journal, task, parts)?;
        }
        queue.add(entry);
    }
    for (seq, task) in journal.publishes()? {
        last = last.max(seq);
        if !batch.is_some_and(|batch| batch.publishes.contains(&(seq, task))) {
            queue.publish(seq, task);
        }
    }
    Ok((queue, last))
}

/// The tasks that the batch under way carries: they run, and nothing takes them back.
pub(super) fn under_way(journal: &Journal, batch: &BatchRow) -> Result<Vec<Uuid>> {
    let submissions = batch.submissions.iter().map(|seq| journal.submission(*seq).map(|row| row.task));
    submissions.chain(batch.publishes.iter().map(|(_, task)| Ok(*task))).collect()
}

/// The keys of all paths of a submission.
pub(super) fn stored_paths(journal: &Journal, task: Uuid, parts: u32) -> Result<Vec<PathKey>> {
    let mut all = Vec::new();
    for part in 0..parts {
        all.extend(paths(&journal.changes(task, part)?));
    }
    Ok(all)
}

/// Open imports that somebody can go on with. Those that a call streamed ended with the process.
pub(super) async fn imports(journal: &Journal) -> Result<BTreeMap<Uuid, ImportRow>> {
    let mut open = journal.imports()?;
    let mut entry = Entry::new();
    open.iter().filter(|(_, row)| row.one_call).for_each(|(id, _)| entry.delete_import(*id));
    delete(journal, entry).await?;
    open.retain(|_, row| !row.one_call);
    Ok(open)
}

/// Parts that neither a submission nor an open import has.
pub(super) async fn delete_orphans(journal: &Journal, imports: &BTreeMap<Uuid, ImportRow>) -> Result<()> {
    let known: HashSet<Uuid> = journal.submissions()?.into_iter().map(|(_, row)| row.task).collect();
    let mut orphans = journal.parts()?;
    orphans.retain(|(task, _)| !known.contains(task) && !imports.contains_key(task));
    for orphans in orphans.chunks(DELETED_PER_ENTRY) {
        let mut entry = Entry::new();
        orphans.iter().for_each(|(task, part)| entry.delete_part(*task, *part));
        if !delete(journal, entry).await? {
            break;
        }
    }
    Ok(())
}

/// Answers whether it could. Where the disk is full things stay for now: what was acknowledged matters more.
async fn delete(journal: &Journal, entry: Entry) -> Result<bool> {
    match journal.commit(entry).await {
        Err(error) if error.is_transient() => {
            tracing::warn!(error = &error as &dyn std::error::Error, "broken imports stay until the next start");
            Ok(false)
        }
        other => other.map(|()| true),
    }
}
