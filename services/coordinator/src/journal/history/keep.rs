//! Keeping the history within its bounds: rows move into files, small files of a day become one, and what is too old,
//! or too much, is dropped. Each is one entry of the journal, so a crash leaves it done or not done.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use uuid::Uuid;

use super::{
    KEPT, SMALL_FILES,
    merged::{Merged, Source},
    segment::{Name, Row, Segment},
};
use crate::{
    Error, Result,
    blocking::blocking,
    journal::{
        Entry, Journal,
        keys::{TASKS, covered_key, history_key, json, parse, request_key, result_key, task_key, task_of_key},
        rows::{TaskKind, TaskRow},
    },
};

/// Rows that move at a time, but for those of a single task: their end is one entry.
const ROWS_MOVED_MAX: usize = 16_384;
/// Changes of tasks that move at a time, but for those of a single task, so that files stay small.
const CHANGES_MOVED_MAX: u64 = 250_000;
/// Files that become one at a time.
const MERGED_MAX: usize = 2 * SMALL_FILES;

/// What is about to become of the files, and of rows.
#[derive(Default)]
pub(super) struct Plan {
    added: Vec<Arc<Segment>>,
    removed: Vec<Arc<Segment>>,
    deleted: Vec<Vec<u8>>,
    /// Tasks that are forgotten with what is removed: of days that are over for long, and before their time.
    old: u64,
    too_many: u64,
}

/// A finished task that is a row.
struct Finished {
    day: Date,
    changes: u64,
    keys: Vec<Vec<u8>>,
}

impl Journal {
    /// Brings the history to where it should be at `now`.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) async fn keep_history(&self, now: Timestamp) -> Result<()> {
        while self.carry_out(Self::plan_move, now).await?
            || self.carry_out(Self::plan_merge, now).await?
            || self.carry_out(Self::plan_drop, now).await?
        {}
        Ok(())
    }

    /// Waits until there is something to do for [`Journal::keep_history`] before the day is over.
    pub(crate) async fn history_due(&self) {
        self.history.due().await;
    }

    /// Plans, and makes it so. Answers whether there was anything.
    async fn carry_out(&self, plan: fn(&Self, Date) -> Result<Option<Plan>>, now: Timestamp) -> Result<bool> {
        let (journal, today) = (self.clone(), day(now));
        let Some(plan) = blocking(move || plan(&journal, today)).await? else { return Ok(false) };
        let mut entry = Entry::new();
        plan.deleted.into_iter().for_each(|key| entry.delete(key));
        plan.removed.iter().for_each(|segment| entry.delete(history_key(segment.name)));
        plan.added.iter().for_each(|segment| entry.put_bytes(history_key(segment.name), json(&segment.row)));
        self.history.replace(&[], &plan.added);
        let committed = self.commit(entry).await;
        let gone = match &committed {
            Ok(()) => plan.removed,
            // Nothing was changed. After any other failure nobody knows, and the process ends.
            Err(error) if error.is_no_space() => plan.added,
            Err(_) => Vec::new(),
        };
        self.history.replace(&gone, &[]);
        let journal = self.clone();
        blocking(move || {
            let mut names = gone.iter().map(|segment| segment.name.to_string());
            Ok(names.try_for_each(|name| journal.store.remove_file(&name))?)
        })
        .await?;
        committed?;
        self.history.forgot(plan.old, plan.too_many);
        Ok(true)
    }

    /// Moves rows of tasks: those whose day is over, and of today the oldest, once there are many.
    pub(super) fn plan_move(&self, today: Date) -> Result<Option<Plan>> {
        let bounds = self.history.bounds;
        let mut finished = Vec::new();
        self.walk(TASKS, |key, value| {
            let (id, row): (_, TaskRow) = (task_of_key(key)?, parse(key, value)?);
            let day = row.finished.map(day);
            finished.extend(day.map(|day| Finished { day, changes: row.changes, keys: keys_of(id, &row) }));
            Ok(())
        })?;
        self.history.in_rows.store(finished.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let many = finished.len() as u64 >= bounds.in_rows + bounds.moved as u64;
        // Oldest first.
        finished.reverse();
        let over = finished.iter().map(|task| task.day).find(|day| *day < today);
        let Some(day) = over.or_else(|| finished.first().filter(|_| many).map(|task| task.day)) else {
            return Ok(None);
        };
        let (mut deleted, mut changes) = (Vec::new(), 0);
        for (number, task) in finished.into_iter().filter(|task| task.day == day).enumerate() {
            let grown = (deleted.len() + task.keys.len(), changes + task.changes);
            if number > 0 && (number >= bounds.moved || grown.0 > ROWS_MOVED_MAX || grown.1 > CHANGES_MOVED_MAX) {
                break;
            }
            changes = grown.1;
            deleted.extend(task.keys);
        }
        deleted.sort();
        let row = |key: &Vec<u8>| match self.store.get(key) {
            Ok(value) => value.map(|value| Ok(Row { key: key.clone().into(), value: value.into() })),
            Err(error) => Some(Err(Error::from(error))),
        };
        let segment = Segment::write(&self.store, self.next_name(day), deleted.iter().filter_map(row))?;
        Ok(Some(Plan { added: vec![Arc::new(segment)], deleted, ..Plan::default() }))
    }

    /// Makes one of a day's small files: when there are many, or its day is over.
    fn plan_merge(&self, today: Date) -> Result<Option<Plan>> {
        let mut small: BTreeMap<Date, Vec<Arc<Segment>>> = BTreeMap::new();
        let unreadable = self.history.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for segment in self.history.segments().iter() {
            if segment.row.bytes < self.history.bounds.small_bytes && !unreadable.contains(&segment.name) {
                small.entry(segment.name.day).or_default().push(segment.clone());
            }
        }
        let many = |day: Date, files: usize| files >= if day < today { 2 } else { SMALL_FILES };
        let Some((day, mut removed)) = small.into_iter().find(|(day, files)| many(*day, files.len())) else {
            return Ok(None);
        };
        removed.truncate(MERGED_MAX);
        let sources = removed
            .iter()
            .filter_map(|segment| Some(Source { first: segment.first()?.clone(), segment: segment.clone() }));
        let rows = Merged::new(Bound::Unbounded, Vec::new(), sources.collect());
        match Segment::write(&self.store, self.next_name(day), rows) {
            Ok(segment) => Ok(Some(Plan { added: vec![Arc::new(segment)], removed, ..Plan::default() })),
            Err(error @ Error::Journal { .. }) => {
                tracing::error!(error = &error as &dyn std::error::Error, "files of the history stay as they are");
                let mut unreadable = self.history.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                unreadable.extend(removed.iter().map(|segment| segment.name));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Drops files: those of days that are over for so long, and the oldest where there are too many.
    fn plan_drop(&self, today: Date) -> Result<Option<Plan>> {
        let is_old = |day: Date| day.tomorrow().and_then(|day| day.checked_add(KEPT)).is_ok_and(|end| end <= today);
        let (mut plan, mut tasks, mut bytes) = (Plan::default(), 0, 0);
        for segment in self.history.segments().iter().rev() {
            tasks += segment.row.tasks;
            bytes += segment.row.bytes;
            if is_old(segment.name.day) {
                plan.old += segment.row.tasks;
            } else if tasks > self.history.bounds.tasks || bytes > self.history.bounds.bytes {
                plan.too_many += segment.row.tasks;
            } else {
                continue;
            }
            plan.removed.push(segment.clone());
        }
        Ok((!plan.removed.is_empty()).then_some(plan))
    }

    fn next_name(&self, day: Date) -> Name {
        let last = self.history.segments().iter().map(|segment| segment.name.seq).max();
        Name { day, seq: last.map_or(0, |seq| seq + 1) }
    }
}

/// The keys of all rows that belong to a finished task.
fn keys_of(id: Uuid, row: &TaskRow) -> Vec<Vec<u8>> {
    let mut keys = vec![task_key(id)];
    keys.extend((row.kind == TaskKind::Publish).then(|| covered_key(id).into_bytes()));
    keys.extend((0..row.parts).map(|part| result_key(id, part).into_bytes()));
    keys.extend((!row.request_id.is_empty()).then(|| request_key(&row.request_id).into_bytes()));
    keys
}

/// The day of a moment, in UTC.
pub(super) fn day(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}
