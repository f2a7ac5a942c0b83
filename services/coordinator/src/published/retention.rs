//! Deleting superseded documents. Clients that began before a publication may still ask for what it replaced, so it
//! stays for a grace time; roots stay for ever.
//!
//! Nothing of this is journalled: a start counts everything that is older than what is published as superseded now.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rstuf_runtime::{Clock, Shutdown};
use rstuf_tuf::{MetadataFile, RoleName, TopLevel};

use crate::{
    Result,
    journal::rows::RoleRow,
    published::{Published, repository::add},
    publisher::{Publisher, file_name},
};

/// Documents deleted in one go.
const DELETED_PER_CALL: usize = 1_024;

/// What is superseded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Retention {
    grace: Duration,
    superseded: Arc<Mutex<VecDeque<(Timestamp, String)>>>,
}

impl Retention {
    /// Keeps superseded documents for `grace`.
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, superseded: Arc::default() }
    }

    /// Files of what these roles have published before. Ask before [`Published::advance`].
    pub(crate) fn superseded(published: &Published, roles: &[(RoleName, RoleRow)]) -> Vec<String> {
        let names = roles.iter().filter(|(role, _)| has_superseded_files(role));
        let names = names.filter_map(|(role, row)| {
            let old = published.role(role)?;
            (old.version < row.version).then(|| file_name(role, old.version))
        });
        names.collect()
    }

    /// Deletes what has been superseded for the grace time, until the shutdown.
    ///
    /// # Errors
    /// [`crate::Error::Publish`].
    pub(crate) async fn run(
        self,
        published: Published,
        publisher: Arc<dyn Publisher>,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Result<()> {
        let names = publisher.list().await?;
        let old = names.into_iter().filter(|name| is_superseded(&published, name));
        self.push(old.collect(), clock.now());
        loop {
            let names = self.take_due(clock.now());
            if !names.is_empty() {
                tracing::debug!(documents = names.len(), "deleting superseded documents");
                publisher.delete(names).await?;
                continue;
            }
            // What is superseded meanwhile is due later than this.
            let next = self.first().map_or_else(|| add(clock.now(), self.grace), |at| add(at, self.grace));
            tokio::select! {
                () = clock.sleep_until(next) => {}
                () = shutdown.wait() => return Ok(()),
            }
        }
    }

    /// Keeps these for the grace time from now on.
    pub(crate) fn push(&self, names: Vec<String>, now: Timestamp) {
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        superseded.extend(names.into_iter().map(|name| (now, name)));
    }

    fn first(&self) -> Option<Timestamp> {
        self.superseded.lock().unwrap_or_else(PoisonError::into_inner).front().map(|(at, _)| *at)
    }

    fn take_due(&self, now: Timestamp) -> Vec<String> {
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while due.len() < DELETED_PER_CALL && superseded.front().is_some_and(|(at, _)| add(*at, self.grace) <= now) {
            due.extend(superseded.pop_front().map(|(_, name)| name));
        }
        due
    }
}

/// Roots stay for ever, and `timestamp.json` is one file.
fn has_superseded_files(role: &RoleName) -> bool {
    !matches!(role.top_level(), Some(TopLevel::Root | TopLevel::Timestamp))
}

fn is_superseded(published: &Published, name: &str) -> bool {
    let Ok(MetadataFile::Versioned { version, role }) = name.parse() else { return false };
    has_superseded_files(&role) && published.role(&role).is_some_and(|row| version < row.version)
}
