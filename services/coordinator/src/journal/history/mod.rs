//! What became of finished tasks, their results, and the request ids that made them: rows of the journal that move,
//! when there are many or their day is over, into files of that day, which are dropped whole. So neither the journal
//! nor what a publication costs grows with them, and what is remembered is bounded, in number and in bytes.
//!
//! A move writes the file first, and then one entry of the journal names it and deletes the rows. Whoever reads looks
//! for a row, and then into the files, whose list is extended before that entry and shortened after it: at every
//! instant all is found.

mod damage;
mod filter;
mod keep;
mod merged;
mod segment;

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use rstuf_runtime::{By, Metrics, names, repeat::Repeated};
use rstuf_store::Store;
use tokio::sync::Notify;

pub use self::damage::forget_damaged;
use self::{
    filter::KeyHash,
    merged::{Merged, Source},
    segment::{Name, Row, Segment, SegmentRow},
};
use super::keys::{HISTORY, TASKS, parse, task_key, unreadable};
use crate::{Result, troubles::LOG_PERIOD};

/// How long finished tasks, and the request ids that made them, are remembered at least, unless there are too many.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Finished tasks remembered at most; the oldest are forgotten first.
const TASKS_MAX: u64 = 1_000_000;
/// Bytes of all files at most.
const BYTES_MAX: u64 = 2 << 30;
/// Finished tasks that stay rows while their day lasts.
const IN_ROWS: u64 = 1_024;
/// Tasks that move at a time.
const MOVED: usize = 1_024;
/// A file of so many bytes is left alone. Smaller ones of a day become one, when there are so many of them.
const SMALL_BYTES: u64 = 16 << 20;
const SMALL_FILES: usize = 8;

/// The bounds of a history, which tests set lower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// See [`TASKS_MAX`].
    pub tasks: u64,
    /// See [`BYTES_MAX`].
    pub bytes: u64,
    /// See [`IN_ROWS`].
    pub in_rows: u64,
    /// See [`MOVED`].
    pub moved: usize,
    /// See [`SMALL_BYTES`].
    pub small_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tasks: TASKS_MAX, bytes: BYTES_MAX, in_rows: IN_ROWS, moved: MOVED, small_bytes: SMALL_BYTES }
    }
}

/// The files, oldest day first.
type Segments = Arc<Vec<Arc<Segment>>>;

/// The history of one journal.
pub(super) struct History {
    bounds: Bounds,
    segments: RwLock<Segments>,
    /// Finished tasks that are rows.
    in_rows: AtomicU64,
    /// There are enough of them to be moved.
    due: Notify,
    /// Files that can't be read in order, and are left as they are.
    unreadable: Mutex<BTreeSet<Name>>,
    /// Forgotten before their time.
    full: Repeated,
    tasks: Gauge,
    bytes: Gauge,
    forgotten: By<Counter>,
}

impl History {
    /// As the journal in `store` names it. Files that it does not name were left by a crash, and are deleted. Blocks.
    pub(super) fn open(store: &Store, bounds: Bounds, metrics: &Metrics) -> Result<Self> {
        let segments = named(store)?.into_iter().map(|(name, row)| Segment::open(store, name, row).map(Arc::new));
        let mut segments = segments.collect::<Result<Vec<_>>>()?;
        sort(&mut segments);
        let known: BTreeSet<String> = segments.iter().map(|segment| segment.name.to_string()).collect();
        for name in store.file_names()?.iter().filter(|name| !known.contains(*name)) {
            store.remove_file(name)?;
        }
        let history = Self {
            bounds,
            segments: RwLock::new(Arc::new(segments)),
            in_rows: AtomicU64::new(0),
            due: Notify::new(),
            unreadable: Mutex::default(),
            full: Repeated::new(LOG_PERIOD),
            tasks: metrics.gauge(names::HISTORY_TASKS, "finished tasks in the files of the history"),
            bytes: metrics.gauge(names::HISTORY_BYTES, "bytes of the files of the history"),
            forgotten: metrics.counter_by(names::TASKS_FORGOTTEN, "finished tasks that were forgotten", "because"),
        };
        history.measure();
        Ok(history)
    }

    /// The value of a row that moved. Blocks.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let (segments, hash) = (self.segments(), KeyHash::of(key));
        for segment in segments.iter().rev() {
            if let Some(value) = segment.get(key, hash)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Tasks, newest first, after a key: these rows, and those that moved. Blocks.
    pub(super) fn tasks(
        &self,
        after: Option<Vec<u8>>,
        rows: Vec<rstuf_store::Row>,
    ) -> impl Iterator<Item = Result<Row>> + use<> {
        let rows = rows.into_iter().map(|(key, value)| Row { key: key.into(), value: value.into() }).collect();
        let from = after.map_or_else(|| Bound::Included(TASKS.as_bytes().to_vec()), Bound::Excluded);
        let behind = |oldest| matches!(&from, Bound::Excluded(after) if task_key(oldest) <= *after);
        let segments = self.segments();
        let sources = segments.iter().filter(|segment| segment.row.tasks > 0 && !behind(segment.row.oldest));
        let sources = sources.map(|it| Source { segment: it.clone(), first: task_key(it.row.newest).into() }).collect();
        Merged::new(from, rows, sources)
    }

    /// Counts tasks that were finished, as rows.
    pub(super) fn finished(&self, tasks: u64) {
        let in_rows = self.in_rows.fetch_add(tasks, Ordering::Relaxed) + tasks;
        if tasks > 0 && in_rows >= self.bounds.in_rows + self.bounds.moved as u64 {
            self.due.notify_one();
        }
    }

    /// Waits until there is something to move.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    fn segments(&self) -> Segments {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds files to the list, or takes them off it.
    fn replace(&self, removed: &[Arc<Segment>], added: &[Arc<Segment>]) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        let gone: BTreeSet<Name> = removed.iter().map(|segment| segment.name).collect();
        let kept = segments.iter().filter(|segment| !gone.contains(&segment.name)).chain(added).cloned();
        let mut kept: Vec<_> = kept.collect();
        sort(&mut kept);
        *segments = Arc::new(kept);
        drop(segments);
        self.measure();
    }

    /// Counts tasks that are forgotten: old ones, and those of which there were too many.
    fn forgot(&self, old: u64, too_many: u64) {
        if old > 0 {
            self.forgotten.with("age").inc_by(old);
        }
        if too_many > 0 {
            self.forgotten.with("bound").inc_by(too_many);
            self.full.happened("too many finished tasks", |line| {
                let times = line.times;
                tracing::warn!(tasks = too_many, times, "too many finished tasks: the oldest are forgotten early");
            });
        }
    }

    fn measure(&self) {
        let segments = self.segments();
        let sum = |of: fn(&SegmentRow) -> u64| segments.iter().map(|segment| of(&segment.row)).sum::<u64>();
        self.tasks.set(i64::try_from(sum(|row| row.tasks)).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(sum(|row| row.bytes)).unwrap_or(i64::MAX));
    }
}

/// The files that the journal names. Blocks.
fn named(store: &Store) -> Result<Vec<(Name, SegmentRow)>> {
    let rows = store.scan(HISTORY.as_bytes(), None, usize::MAX)?.into_iter().map(|(key, value)| {
        let name = key.get(HISTORY.len()..).and_then(|name| std::str::from_utf8(name).ok()).and_then(Name::parse);
        let name = name.ok_or_else(|| unreadable(&key, "no file of a day"))?;
        Ok((name, parse(&key, &value)?))
    });
    rows.collect()
}

/// Oldest first: a file of many that became one came late, and what is in it did not.
fn sort(segments: &mut [Arc<Segment>]) {
    segments.sort_by_key(|segment| (segment.name.day, segment.row.newest, segment.name.seq));
}

#[cfg(test)]
mod tests;
