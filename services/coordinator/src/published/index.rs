//! The list of artifacts, in the order of their paths, with what is said of each. It is derived: a start reads it out
//! of the published documents, and each publication brings it up to date. Sorted files without names hold the bulk, of
//! which little is in memory; recent changes, bounded in bytes, lie over them. Files are merged beside all that, by
//! [`Index::run`].

mod runs;
mod segment;
mod update;
mod view;

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rstuf_api::DocumentRef;
use rstuf_runtime::Shutdown;
use rstuf_tuf::{Target, TargetPath, Targets};
use tokio::sync::{Notify, SetOnce};

use self::{
    runs::{Merged, Recent, Run, merge_from},
    segment::Segment,
};
use crate::{
    Error, Result,
    backoff::Backoff,
    blocking::blocking,
    published::Published,
    troubles::{Troubles, Work},
};

pub(crate) use self::{
    update::Update,
    view::{Query, View},
};

/// Recent changes in memory, in bytes, before they are written into a file.
const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest wait before it is read, or its files are merged, again, where there was no room: that costs as much as it
/// holds.
const DELAY_MAX: Duration = Duration::from_secs(300);
/// Records between two looks at whether it is time to stop.
const RECORDS_BETWEEN_LOOKS: usize = 4_096;

/// The list. Cheap to clone; one writer, the lane.
#[derive(Clone)]
pub(crate) struct Index {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    recent_bytes_max: usize,
    state: Mutex<State>,
    caught_up: SetOnce<()>,
    /// There may be something to merge or to read.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Every published document was read.
    complete: bool,
    /// How often the list was given up.
    given_up: u64,
    /// Oldest first.
    segments: Vec<Arc<Segment>>,
    /// Over the segments, oldest first.
    recent: Vec<Arc<Recent>>,
}

/// An update that only has to be shown.
pub(crate) struct Prepared(io::Result<Runs>);

/// Segments to be added, and all that is recent.
type Runs = (Vec<Arc<Segment>>, Vec<Arc<Recent>>);

impl Index {
    /// An empty list, with its files in `folder`; [`Index::run`] reads what is published.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self::with_room_for(RECENT_BYTES_MAX, folder)
    }

    fn with_room_for(recent_bytes_max: usize, folder: PathBuf) -> Self {
        let (state, caught_up, changed) = Default::default();
        Self { inner: Arc::new(Inner { folder, recent_bytes_max, state, caught_up, changed }) }
    }

    /// Changes to come.
    pub(crate) fn update(&self) -> Update {
        Update::new(self.inner.folder.clone(), self.inner.recent_bytes_max)
    }

    /// Adds to an update what documents change that are about to take the place of the published ones, for those whose
    /// changes came from somebody else.
    ///
    /// # Errors
    /// [`Error::DocumentLost`], [`Error::Publish`].
    pub(crate) async fn relist(
        &self,
        published: &Published,
        documents: &[DocumentRef],
        mut update: Update,
    ) -> Result<Update> {
        for document in documents.iter().filter(|document| document.role.is_targets_role()) {
            let old = match published.targets(&document.role).await {
                Ok(old) => old.map(|(targets, _)| targets.targets).unwrap_or_default(),
                // The journal is older than what is published; the list is still to be read.
                Err(Error::DocumentLost { .. }) => BTreeMap::new(),
                Err(error) => return Err(error),
            };
            let new: Targets = published.read_document(document).await?;
            update = blocking(move || {
                put_difference(&old, &new.targets, &mut update);
                Ok(update)
            })
            .await?;
        }
        Ok(update)
    }

    /// Makes room for an update, so that [`Index::install`] only has to show it. Blocks.
    pub(crate) fn prepare(&self, update: Update) -> Prepared {
        let recent = self.lock().recent.clone();
        Prepared(update.into_runs().and_then(|(later, own)| self.with_room(recent, later, own)))
    }

    fn with_room(&self, mut recent: Vec<Arc<Recent>>, later: Vec<Arc<Segment>>, own: Recent) -> io::Result<Runs> {
        let bytes = recent.iter().map(|run| run.bytes()).sum::<usize>() + own.bytes();
        let mut segments = Vec::new();
        if !recent.is_empty() && (bytes > self.inner.recent_bytes_max || !later.is_empty()) {
            let runs: Vec<_> = std::mem::take(&mut recent).into_iter().map(Run::Recent).collect();
            let merged = Merged::new(&runs, Bound::Unbounded);
            segments.push(Arc::new(Segment::write(&self.inner.folder, merged)?));
        }
        segments.extend(later);
        if !own.is_empty() {
            recent.push(Arc::new(own));
        }
        if let Some(from) = merge_from(recent.iter().map(|run| run.bytes() as u64)) {
            let merged = Recent::merge(&recent[from..]);
            recent.truncate(from);
            recent.push(Arc::new(merged));
        }
        Ok((segments, recent))
    }

    /// Shows an update. Where there was no room for it, the list is given up, and read again out of what is published.
    pub(crate) fn install(&self, prepared: Prepared) {
        let mut state = self.lock();
        match prepared.0 {
            Ok((segments, recent)) => {
                state.segments.extend(segments);
                state.recent = recent;
            }
            Err(error) => {
                tracing::warn!(%error, "no room for the list of artifacts: it is read again");
                *state = State { given_up: state.given_up + 1, ..State::default() };
            }
        }
        drop(state);
        self.inner.changed.notify_one();
    }

    /// Says that what the last process left is published: documents that it had signed, and that nobody told of, count
    /// now.
    pub(crate) fn set_caught_up(&self) {
        // Saying it twice changes nothing.
        let _ = self.inner.caught_up.set(());
    }

    /// Waits for [`Index::set_caught_up`].
    pub(crate) async fn wait_caught_up(&self) {
        self.inner.caught_up.wait().await;
    }

    /// The list as it is now.
    ///
    /// # Errors
    /// [`Error::IndexNotReady`].
    pub(crate) fn view(&self) -> Result<View> {
        let state = self.lock();
        if !state.complete {
            return Err(Error::IndexNotReady);
        }
        let segments = state.segments.iter().cloned().map(Run::Segment);
        Ok(View { runs: segments.chain(state.recent.iter().cloned().map(Run::Recent)).collect() })
    }

    /// Reads what is published, once the lane has caught up, and merges files until the shutdown.
    ///
    /// # Errors
    /// [`Error::DocumentLost`], [`Error::Publish`].
    pub(crate) async fn run(&self, published: &Published, troubles: &Troubles, shutdown: Shutdown) -> Result<()> {
        self.wait_caught_up().await;
        let begin = || Backoff::up_to(DELAY_MAX, shutdown.clone());
        let mut backoff = begin();
        loop {
            let complete = self.lock().complete;
            let worked = if complete {
                let (index, shutdown) = (self.clone(), shutdown.clone());
                blocking(move || index.merge(&shutdown).map_err(Error::Index)).await
            } else {
                self.build(published).await
            };
            match worked {
                Ok(is_more) => {
                    troubles.ended(Work::Index);
                    backoff = begin();
                    if !is_more {
                        self.inner.changed.notified().await;
                    }
                }
                Err(error @ Error::Index(_)) => {
                    troubles.happened(Work::Index, &error);
                    if !backoff.wait().await {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads all published documents. What was installed meanwhile counts more. Answers true.
    async fn build(&self, published: &Published) -> Result<bool> {
        let given_up = self.lock().given_up;
        let mut update = self.update();
        for (role, _) in published.roles().into_iter().filter(|(role, _)| role.is_targets_role()) {
            // A batch may replace the document between the list and the read: read what is published then.
            let mut read = published.targets(&role).await;
            if matches!(read, Err(Error::DocumentLost { .. })) {
                read = published.targets(&role).await;
            }
            let Some((targets, _)) = read? else { continue };
            update = blocking(move || {
                put_difference(&BTreeMap::new(), &targets.targets, &mut update);
                Ok(update)
            })
            .await?;
        }
        let mut segments = blocking(move || update.into_segments().map_err(Error::Index)).await?;
        let mut state = self.lock();
        if state.given_up == given_up {
            segments.append(&mut state.segments);
            state.segments = segments;
            state.complete = true;
        }
        Ok(true)
    }

    /// Merges what is to be merged; answers whether there was something. Blocks.
    fn merge(&self, shutdown: &Shutdown) -> io::Result<bool> {
        let (given_up, segments) = {
            let state = self.lock();
            (state.given_up, state.segments.clone())
        };
        let Some(from) = merge_from(segments.iter().map(|segment| segment.bytes())) else { return Ok(false) };
        let runs: Vec<_> = segments[from..].iter().cloned().map(Run::Segment).collect();
        // Below the oldest there is nothing that could be gone.
        let kept = Merged::new(&runs, Bound::Unbounded)
            .filter(|record| from > 0 || record.as_ref().map_or(true, |record| record.target.is_some()));
        let until_stopped = kept.enumerate().map(|(number, record)| {
            match number % RECORDS_BETWEEN_LOOKS == 0 && shutdown.is_triggered() {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => record,
            }
        });
        let merged = Segment::write(&self.inner.folder, until_stopped)?;
        let mut state = self.lock();
        if state.given_up == given_up {
            // Others were added at the end only.
            state.segments.splice(from..segments.len(), [Arc::new(merged)]);
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_difference(old: &BTreeMap<TargetPath, Target>, new: &BTreeMap<TargetPath, Target>, update: &mut Update) {
    old.keys().filter(|path| !new.contains_key(*path)).for_each(|path| update.put(path, None));
    let changed = new.iter().filter(|(path, target)| old.get(*path) != Some(*target));
    changed.for_each(|(path, target)| update.put(path, Some(target)));
}

#[cfg(test)]
mod tests;
