//! What was seen of each signer, for those who ask how it is: status, metrics and `/readyz` tell the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rstuf_runtime::{Hold, Readiness};

use super::Group;
use crate::Error;

/// Of all signers. Cheap to clone; clones are one.
#[derive(Clone)]
pub(super) struct Seen {
    readiness: Readiness,
    all: Arc<Mutex<BTreeMap<Group, Signer>>>,
}

/// Of one that was asked.
#[derive(Default)]
struct Signer {
    /// What it complained of at its last call that matters.
    complaint: Option<String>,
    /// While it does not answer.
    silent: Option<Hold>,
    /// While it can't sign for the repository: what, and that waiting will not mend it.
    fault: Option<(String, Hold)>,
}

impl Seen {
    /// Nobody was asked yet.
    pub(super) fn new(readiness: Readiness) -> Self {
        Self { readiness, all: Arc::default() }
    }

    /// See [`super::Signers::complaint`].
    pub(super) fn complaint(&self, group: Group) -> Option<String> {
        self.lock().get(&group).and_then(|signer| signer.complaint.clone())
    }

    /// See [`super::Signers::is_reachable`].
    pub(super) fn is_reachable(&self, group: Group) -> Option<bool> {
        self.lock().get(&group).map(|signer| signer.silent.is_none())
    }

    pub(super) fn answered(&self, group: Group) {
        self.lock().entry(group).or_default().silent = None;
    }

    /// It did what it was asked for.
    pub(super) fn content(&self, group: Group) {
        let mut all = self.lock();
        let signer = all.entry(group).or_default();
        (signer.complaint, signer.silent) = (None, None);
    }

    /// See [`super::Signers::judged`].
    pub(super) fn judged(&self, group: Group, fault: Option<String>) {
        let mut all = self.lock();
        let standing = &mut all.entry(group).or_default().fault;
        if standing.as_ref().map(|(text, _)| text) != fault.as_ref() {
            *standing = fault.map(|text| {
                tracing::error!(%group, fault = text, "a signer can't sign for this repository");
                (text.clone(), self.readiness.hold_error(text))
            });
        }
    }

    /// It refused, or did not answer.
    pub(super) fn missed(&self, group: Group, error: &Error) {
        let silent = matches!(error, Error::SignerUnreachable { .. });
        // What waits for a signer goes on by itself: that it is away takes no work from this process.
        let silent = silent.then(|| self.readiness.warn(error.to_string()));
        self.lock().entry(group).or_default().silent = silent;
    }

    /// As [`Seen::missed`], and the call mattered.
    pub(super) fn failed(&self, group: Group, error: &Error) {
        self.missed(group, error);
        self.lock().entry(group).or_default().complaint = Some(error.to_string());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Group, Signer>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
