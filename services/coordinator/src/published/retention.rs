//! Deleting superseded documents. Clients that began before a publication may still ask for what it replaced, so it
//! stays for a grace time; roots stay for ever.
//!
//! Nothing of this is journalled: a start counts everything that is older than what is published as superseded now.
//! What clients reach from `timestamp.json` is never deleted, even where the journal knows newer documents that are not
//! visible yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_runtime::{Clock, Shutdown, later};
use rstuf_tuf::{Document, Envelope, MetadataFile, RoleName, Snapshot, TopLevel, Version};

use crate::{
    Result,
    blocking::blocking,
    journal::rows::RoleRow,
    published::Published,
    publisher::{Publisher, TIMESTAMP_FILE, file_name},
};

/// Documents deleted in one go.
const DELETED_PER_CALL: usize = 1_024;

/// What is superseded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Retention {
    grace: Duration,
    clock: Clock,
    superseded: Arc<Mutex<VecDeque<(Timestamp, String)>>>,
}

impl Retention {
    /// Keeps superseded documents for `grace`, by a clock that does not jump.
    pub(crate) fn new(grace: Duration, clock: Clock) -> Self {
        Self { grace, clock, superseded: Arc::default() }
    }

    /// Files of what these roles have published before, or have withdrawn. Ask before [`Published::advance`].
    pub(crate) fn superseded(published: &Published, roles: &[(RoleName, RoleRow)]) -> Vec<String> {
        let names = roles.iter().filter(|(role, _)| has_superseded_files(role)).flat_map(|(role, row)| {
            let old = [published.role(role).map(|row| row.version), published.withdrawn_of(role).map(|it| it.version)];
            let old = old.into_iter().flatten().filter(|version| *version < row.version);
            old.map(|version| file_name(role, version)).collect::<Vec<_>>()
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
        shutdown: Shutdown,
    ) -> Result<()> {
        if let Some(reachable) = Reachable::read(publisher.as_ref()).await? {
            let names = publisher.list().await?;
            let old = names.into_iter().filter(|name| is_superseded(&published, &reachable, name));
            self.push(old.collect());
        }
        loop {
            let names = self.take_due(self.clock.now());
            if !names.is_empty() {
                tracing::debug!(documents = names.len(), "deleting superseded documents");
                publisher.delete(names).await?;
                continue;
            }
            // What is superseded meanwhile is due later than this.
            let next = later(self.first().unwrap_or_else(|| self.clock.now()), self.grace);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = shutdown.wait() => return Ok(()),
            }
        }
    }

    /// Keeps these for the grace time from now on.
    pub(crate) fn push(&self, names: Vec<String>) {
        let now = self.clock.now();
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        superseded.extend(names.into_iter().map(|name| (now, name)));
    }

    fn first(&self) -> Option<Timestamp> {
        self.superseded.lock().unwrap_or_else(PoisonError::into_inner).front().map(|(at, _)| *at)
    }

    fn take_due(&self, now: Timestamp) -> Vec<String> {
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        while due.len() < DELETED_PER_CALL && superseded.front().is_some_and(|(at, _)| later(*at, self.grace) <= now) {
            due.extend(superseded.pop_front().map(|(_, name)| name));
        }
        due
    }
}

/// Roots stay for ever, and `timestamp.json` is one file.
fn has_superseded_files(role: &RoleName) -> bool {
    !matches!(role.top_level(), Some(TopLevel::Root | TopLevel::Timestamp))
}

fn is_superseded(published: &Published, reachable: &Reachable, name: &str) -> bool {
    let Ok(MetadataFile::Versioned { version, role }) = name.parse() else { return false };
    let older = |than: Option<Version>| than.is_some_and(|than| version < than);
    has_superseded_files(&role)
        && older(published.role(&role).map(|row| row.version))
        && older(reachable.version(&role))
}

/// What a client finds that begins at `timestamp.json`.
struct Reachable {
    snapshot_version: Version,
    snapshot: Snapshot,
}

impl Reachable {
    /// None where nothing is published, or where it can't be read: then nothing is known to be superseded.
    async fn read(publisher: &dyn Publisher) -> Result<Option<Self>> {
        let Some(timestamp) = publisher.read(TIMESTAMP_FILE).await? else { return Ok(None) };
        let Some(timestamp) = parse::<rstuf_tuf::Timestamp>(TIMESTAMP_FILE, timestamp).await? else { return Ok(None) };
        let snapshot_version = timestamp.snapshot.version;
        let name = file_name(&RoleName::snapshot(), snapshot_version);
        let Some(snapshot) = publisher.read(&name).await? else { return Ok(None) };
        Ok(parse(&name, snapshot).await?.map(|snapshot| Self { snapshot_version, snapshot }))
    }

    fn version(&self, role: &RoleName) -> Option<Version> {
        match role.top_level() {
            Some(TopLevel::Snapshot) => Some(self.snapshot_version),
            _ => self.snapshot.meta.get(role).map(|entry| entry.version),
        }
    }
}

async fn parse<D: Document + Send + 'static>(name: &str, bytes: Bytes) -> Result<Option<D>> {
    let parsed = blocking(move || Ok(Envelope::parse(&bytes).and_then(|envelope| envelope.decode()))).await?;
    let kept = |error| tracing::warn!(name, %error, "can't be read: older files are kept");
    Ok(parsed.map_err(kept).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use rstuf_tuf::{MetaEntry, Sha256, Unsigned};

    use super::*;
    use crate::{
        journal::{Journal, rows::PublicationRow},
        publisher::{DirectoryPublisher, NamedDocument},
    };

    fn version(number: u32) -> Version {
        Version::try_from(u64::from(number)).unwrap()
    }

    fn sealed(document: &impl Document) -> Bytes {
        Unsigned::new(document).unwrap().seal(Vec::new()).into()
    }

    /// A start that collected a newer snapshot from its signer, and died before the timestamp named it: what clients
    /// reach stays, however long the next start takes.
    #[tokio::test]
    async fn keeps_what_the_published_timestamp_reaches() {
        let dir = tempfile::tempdir().unwrap();
        let publisher: Arc<dyn Publisher> =
            Arc::new(DirectoryPublisher::open(&dir.path().join("published"), "this test").unwrap());
        let expires = Timestamp::from_second(9_000).unwrap();
        let meta = BTreeMap::from([(RoleName::targets(), MetaEntry::version_only(version(4)))]);
        let snapshot = sealed(&Snapshot { version: version(2), expires, meta, unknown: Default::default() });
        let entry = MetaEntry::new(version(2), snapshot.len() as u64, Sha256::of(&snapshot));
        let timestamp =
            rstuf_tuf::Timestamp { version: version(7), expires, snapshot: entry, unknown: Default::default() };
        let files =
            ["1.root.json", "3.targets.json", "4.targets.json", "5.targets.json", "1.snapshot.json", "3.snapshot.json"];
        let named = |name: &str, bytes: &Bytes| NamedDocument { name: name.to_owned(), bytes: bytes.clone() };
        let documents = files.iter().map(|name| named(name, &Bytes::from_static(b"{}")));
        publisher.write(documents.chain([named("2.snapshot.json", &snapshot)]).collect()).await.unwrap();
        publisher.barrier().await.unwrap();
        publisher.replace_timestamp(sealed(&timestamp)).await.unwrap();

        let store =
            rstuf_store::Store::open(rstuf_store::Options::new(dir.path().join("state"), "coordinator")).unwrap();
        let (clock, hand) = Clock::manual(Timestamp::UNIX_EPOCH);
        let journal =
            Journal::open(store, &rstuf_runtime::Context::new("coordinator", clock.clone(), Shutdown::new()).metrics)
                .unwrap();
        let published = Published::load(&journal, publisher.clone()).unwrap();
        let row = |number| RoleRow { version: version(number), sha256: Sha256([0; 32]), length: 2, expires };
        let roles = [(RoleName::targets(), row(5)), (RoleName::snapshot(), row(3)), (RoleName::root(), row(2))];
        published.advance(PublicationRow::default(), roles.to_vec());
        let shutdown = Shutdown::new();
        let retention = Retention::new(Duration::from_secs(60), clock);
        let run = tokio::spawn(retention.clone().run(published, publisher.clone(), shutdown.clone()));
        let deadline = Duration::from_secs(10);
        let deleted = async {
            while publisher.list().await.unwrap().iter().any(|name| name == "3.targets.json") {
                hand.advance(Duration::from_secs(60));
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(deadline, deleted).await.unwrap();
        shutdown.trigger();
        run.await.unwrap().unwrap();
        let mut left = publisher.list().await.unwrap();
        left.sort();
        let kept =
            ["1.root.json", "2.snapshot.json", "3.snapshot.json", "4.targets.json", "5.targets.json", "timestamp.json"];
        assert_eq!(left, kept);
    }
}
