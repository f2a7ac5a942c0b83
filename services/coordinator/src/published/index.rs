//! The list of artifacts, in the order of their paths. It is derived: a start reads it out of the published documents,
//! and each publication brings it up to date. Compressed segments (`fst`) hold the bulk, so that a million paths take
//! some ten megabytes; recent changes lie over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fst::{Set, SetBuilder, Streamer as _};
use rstuf_api::DocumentRef;
use rstuf_tuf::{TargetPath, Targets};
use tokio::sync::SetOnce;

use crate::{Error, Result, published::Published};

/// Recent changes that lie over the segments before they are merged into them.
const RECENT_MAX: usize = 65_536;
/// Segments before they are merged into one.
const SEGMENTS_MAX: usize = 16;

/// The list. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Index {
    state: Arc<Mutex<State>>,
    caught_up: Arc<SetOnce<()>>,
}

#[derive(Default)]
struct State {
    /// Not every published document was read yet.
    complete: bool,
    segments: Vec<Set<Vec<u8>>>,
    /// Whether a path is there, whatever the segments say.
    recent: BTreeMap<TargetPath, bool>,
}

impl Index {
    /// Says whether paths are there now.
    pub(crate) fn apply<'a>(&self, changes: impl Iterator<Item = (&'a TargetPath, bool)>) {
        let mut state = self.lock();
        state.recent.extend(changes.map(|(path, present)| (path.clone(), present)));
        if state.complete && state.recent.len() > RECENT_MAX {
            state.merge();
        }
    }

    /// Lists what documents hold that are about to take the place of the published ones, for those whose changes came
    /// from somebody else.
    ///
    /// # Errors
    /// [`Error::DocumentLost`], [`Error::Publish`].
    pub(crate) async fn relist(&self, published: &Published, documents: &[DocumentRef]) -> Result<()> {
        for document in documents.iter().filter(|document| document.role.is_targets_role()) {
            let old = match published.targets(&document.role).await {
                Ok(old) => old.map(|(targets, _)| targets.targets).unwrap_or_default(),
                // The journal is older than what is published; the list is still to be read.
                Err(Error::DocumentLost { .. }) => BTreeMap::new(),
                Err(error) => return Err(error),
            };
            let targets: Targets = published.read_document(document).await?;
            let gone = old.keys().filter(|path| !targets.targets.contains_key(*path)).map(|path| (path, false));
            self.apply(gone.chain(targets.targets.keys().map(|path| (path, true))));
        }
        Ok(())
    }

    /// Says that what the last process left is published: documents that it had signed, and that nobody told of, count
    /// now.
    pub(crate) fn set_caught_up(&self) {
        // Saying it twice changes nothing.
        let _ = self.caught_up.set(());
    }

    /// Waits for [`Index::set_caught_up`].
    pub(crate) async fn wait_caught_up(&self) {
        self.caught_up.wait().await;
    }

    /// Reads all published documents, once the lane has caught up. What [`Index::apply`] says meanwhile counts more.
    ///
    /// # Errors
    /// [`Error::DocumentLost`], [`Error::Publish`].
    pub(crate) async fn build(&self, published: &Published) -> Result<()> {
        self.wait_caught_up().await;
        let mut paths = BTreeSet::new();
        for (role, _) in published.roles().into_iter().filter(|(role, _)| role.is_targets_role()) {
            // A batch may replace the document between the list and the read: read what is published then.
            let mut read = published.targets(&role).await;
            if matches!(read, Err(Error::DocumentLost { .. })) {
                read = published.targets(&role).await;
            }
            let Some((targets, _)) = read? else { continue };
            paths.extend(targets.targets.into_keys());
            if paths.len() > RECENT_MAX {
                self.lock().add_segment(std::mem::take(&mut paths));
            }
        }
        let mut state = self.lock();
        state.add_segment(paths);
        state.complete = true;
        Ok(())
    }

    /// Up to `limit` paths that begin with `prefix` and come after `after`.
    ///
    /// # Errors
    /// [`Error::IndexNotReady`].
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<TargetPath>> {
        let state = self.lock();
        if !state.complete {
            return Err(Error::IndexNotReady);
        }
        Ok(state.list(prefix, after, limit))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add_segment(&mut self, paths: BTreeSet<TargetPath>) {
        if !paths.is_empty() {
            self.segments.extend(build(paths.iter().map(|path| path.as_str().as_bytes())));
        }
        if self.segments.len() > SEGMENTS_MAX {
            self.segments = union(&self.segments, |_| true).into_iter().collect();
        }
    }

    /// One segment of everything.
    fn merge(&mut self) {
        let recent = std::mem::take(&mut self.recent);
        let present: Vec<&[u8]> =
            recent.iter().filter(|(_, present)| **present).map(|(path, _)| path.as_str().as_bytes()).collect();
        self.segments.extend(build(present.into_iter()));
        let gone = |path: &[u8]| std::str::from_utf8(path).ok().and_then(|path| recent.get(path)) == Some(&false);
        self.segments = union(&self.segments, |path| !gone(path)).into_iter().collect();
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<TargetPath> {
        let after = after.filter(|after| *after >= prefix);
        let union = self.segments.iter().fold(fst::set::OpBuilder::new(), |union, segment| {
            let range = segment.range();
            union.add(match after {
                Some(after) => range.gt(after),
                None => range.ge(prefix),
            })
        });
        let mut old = union.union();
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut recent = self.recent.range::<str, _>((from, Bound::Unbounded)).peekable();
        let mut next_old = next(&mut old);
        let mut found = Vec::new();
        // Two sorted rows side by side; where both have a path, the recent one decides.
        while found.len() < limit {
            let recent_first = match (&next_old, recent.peek()) {
                (None, None) => break,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some(old), Some((path, _))) => path.as_str() <= old.as_str(),
            };
            let path = if recent_first {
                let Some((path, present)) = recent.next() else { break };
                if next_old.as_ref() == Some(path) {
                    next_old = next(&mut old);
                }
                present.then(|| path.clone())
            } else {
                std::mem::replace(&mut next_old, next(&mut old))
            };
            match path {
                Some(path) if !path.as_str().starts_with(prefix) => break,
                path => found.extend(path),
            }
        }
        found
    }
}

fn next(stream: &mut fst::set::Union<'_>) -> Option<TargetPath> {
    let path = std::str::from_utf8(stream.next()?).ok()?;
    path.try_into().ok()
}

/// One segment of all that are kept.
fn union(segments: &[Set<Vec<u8>>], keep: impl Fn(&[u8]) -> bool) -> Option<Set<Vec<u8>>> {
    let mut union = segments.iter().collect::<fst::set::OpBuilder<'_>>().union();
    collect(|add| {
        while let Some(path) = union.next() {
            if keep(path) {
                add(path);
            }
        }
    })
}

/// A segment of sorted paths.
fn build<'a>(paths: impl Iterator<Item = &'a [u8]>) -> Option<Set<Vec<u8>>> {
    collect(|add| paths.for_each(add))
}

/// Paths come sorted and without repetition, and memory does not fail: so there is a set.
fn collect(fill: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Option<Set<Vec<u8>>> {
    let mut builder = SetBuilder::memory();
    let mut sorted = true;
    fill(&mut |path| sorted &= builder.insert(path).is_ok());
    debug_assert!(sorted, "paths must come sorted");
    Set::new(builder.into_inner().ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn path(text: &str) -> TargetPath {
        text.try_into().unwrap()
    }

    /// Against a plain ordered set, over merges, with every prefix and page.
    #[test]
    fn lists_what_a_plain_set_would() {
        let index = Index::default();
        index.lock().complete = true;
        let mut model = BTreeSet::new();
        for round in 0..8_u32 {
            for number in 0..600_u32 {
                let name = path(&format!(
                    "{}/{:03}",
                    ["a", "ab", "b"][(number % 3) as usize],
                    number.wrapping_mul(7 + round) % 500
                ));
                let present = number.wrapping_mul(13).wrapping_add(round) % 4 != 0;
                if present {
                    model.insert(name.clone())
                } else {
                    model.remove(&name)
                };
                index.apply(std::iter::once((&name, present)));
            }
            if round % 3 == 2 {
                index.lock().merge();
            }
            for prefix in ["", "a", "a/", "ab/1", "b/4", "c"] {
                let wanted: Vec<_> = model.iter().filter(|path| path.as_str().starts_with(prefix)).cloned().collect();
                let mut listed: Vec<TargetPath> = Vec::new();
                loop {
                    let after = listed.last().map(|path| path.as_str().to_owned());
                    let page = index.list(prefix, after.as_deref(), 7).unwrap();
                    if page.is_empty() {
                        break;
                    }
                    listed.extend(page);
                }
                assert_eq!(listed, wanted, "prefix {prefix:?} in round {round}");
            }
        }
    }
}
