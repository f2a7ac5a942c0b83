//! What clients see now: the newest publication, in memory, for planners and readers.

pub(crate) mod expiry_metrics;
pub(crate) mod index;
pub(crate) mod repository;
pub(crate) mod retention;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::DocumentRef;
use rstuf_tuf::{RoleName, Snapshot, Targets, Version};
use tokio::sync::watch;

use crate::{
    Error, Repository, Result,
    blocking::blocking,
    journal::{
        Journal,
        rows::{PublicationRow, RoleRow},
    },
    publisher::{Publisher, file_name},
};

/// The newest publication. Cheap to clone; the lane writes it, and the batcher what is withdrawn.
#[derive(Clone)]
pub(crate) struct Published {
    inner: Arc<Inner>,
}

struct Inner {
    state: RwLock<State>,
    repository: watch::Sender<Option<Arc<Repository>>>,
    /// Whether the start is over, so that no repository means that there was no ceremony.
    started: AtomicBool,
    publisher: Arc<dyn Publisher>,
}

#[derive(Default)]
struct State {
    publication: PublicationRow,
    roles: BTreeMap<RoleName, RoleRow>,
    /// The targets signer's last document of a role, where it is newer and nobody is to see it: its batch was given up.
    withdrawn: BTreeMap<RoleName, DocumentRef>,
}

impl State {
    fn unseen(&self, mut documents: Vec<DocumentRef>) -> Vec<DocumentRef> {
        documents.retain(|it| self.roles.get(&it.role).is_none_or(|row| row.version < it.version));
        documents
    }

    /// Answers those that others take the place of.
    fn withdraw(&mut self, documents: Vec<DocumentRef>) -> Vec<DocumentRef> {
        let unseen = self.unseen(documents).into_iter();
        unseen.filter_map(|document| self.withdrawn.insert(document.role.clone(), document)).collect()
    }

    fn superseded_withdrawals(&self, roles: &[(RoleName, RoleRow)]) -> Vec<RoleName> {
        let is_superseded = |(role, row): &&(RoleName, RoleRow)| {
            self.withdrawn.get(role).is_some_and(|document| document.version <= row.version)
        };
        roles.iter().filter(is_superseded).map(|(role, _)| role.clone()).collect()
    }
}

impl Published {
    /// As the journal says.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`].
    pub(crate) fn load(journal: &Journal, publisher: Arc<dyn Publisher>) -> Result<Self> {
        let roles = journal.roles()?.into_iter().collect();
        let mut state = State { publication: journal.publication()?, roles, withdrawn: BTreeMap::new() };
        state.withdraw(journal.withdrawn()?);
        let inner = Inner {
            state: RwLock::new(state),
            repository: watch::Sender::new(None),
            started: AtomicBool::new(false),
            publisher,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The repository; none before the ceremony.
    pub(crate) fn repository(&self) -> Option<Arc<Repository>> {
        self.inner.repository.borrow().clone()
    }

    /// The repository, for a request that needs one.
    ///
    /// # Errors
    /// [`Error::Starting`], [`Error::NoCeremony`].
    pub(crate) fn require_repository(&self) -> Result<Arc<Repository>> {
        let started = self.inner.started.load(Ordering::Acquire);
        self.repository().ok_or(if started { Error::NoCeremony } else { Error::Starting })
    }

    /// Says that the start is over.
    pub(crate) fn set_started(&self) {
        self.inner.started.store(true, Ordering::Release);
    }

    /// Says that the ceremony was held.
    pub(crate) fn set_repository(&self, repository: Repository) {
        self.inner.repository.send_replace(Some(Arc::new(repository)));
    }

    /// Waits for the ceremony.
    pub(crate) async fn wait_repository(&self) -> Arc<Repository> {
        let mut receiver = self.inner.repository.subscribe();
        loop {
            if let Some(repository) = self.repository() {
                return repository;
            }
            if receiver.changed().await.is_err() {
                // The sender lives in `self`, so this can't be.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The newest publication.
    pub(crate) fn publication(&self) -> PublicationRow {
        self.read().publication
    }

    /// What is published of one role.
    pub(crate) fn role(&self, role: &RoleName) -> Option<RoleRow> {
        self.read().roles.get(role).copied()
    }

    /// What is withdrawn, by role.
    pub(crate) fn withdrawn(&self) -> BTreeMap<RoleName, DocumentRef> {
        self.read().withdrawn.clone()
    }

    /// That of one role.
    pub(crate) fn withdrawn_of(&self, role: &RoleName) -> Option<DocumentRef> {
        self.read().withdrawn.get(role).cloned()
    }

    /// Roles of which something is withdrawn, and as new is about to be published. Ask before [`Published::advance`].
    pub(crate) fn superseded_withdrawals(&self, roles: &[(RoleName, RoleRow)]) -> Vec<RoleName> {
        self.read().superseded_withdrawals(roles)
    }

    /// Those of signed documents that are newer than what is published.
    pub(crate) fn unseen(&self, documents: Vec<DocumentRef>) -> Vec<DocumentRef> {
        self.read().unseen(documents)
    }

    /// The batch of these documents is given up, and nobody is to see them, unless the lane has published them
    /// meanwhile. Answers those that were withdrawn before and that nothing needs any more.
    pub(crate) fn withdraw(&self, documents: Vec<DocumentRef>) -> Vec<DocumentRef> {
        let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
        state.withdraw(documents)
    }

    /// What is published of every role.
    pub(crate) fn roles(&self) -> Vec<(RoleName, RoleRow)> {
        self.read().roles.iter().map(|(role, row)| (role.clone(), *row)).collect()
    }

    /// Roles that a snapshot lists in another version than what is published.
    pub(crate) fn differing(&self, snapshot: &Snapshot) -> Vec<RoleName> {
        let state = self.read();
        // Both in order, side by side: there may be thousands.
        let mut published = state.roles.iter().peekable();
        let mut differs = |role: &RoleName, version: Version| {
            while published.next_if(|(name, _)| *name < role).is_some() {}
            published.peek().filter(|(name, _)| *name == role).map(|(_, row)| row.version) != Some(version)
        };
        snapshot
            .meta
            .iter()
            .filter(|(role, entry)| differs(role, entry.version))
            .map(|(role, _)| role.clone())
            .collect()
    }

    /// Delegated role, or other role that the targets signer signs, that has to be renewed first, and all that must be
    /// by `now`, at most `max`.
    pub(crate) fn due(&self, repository: &Repository, now: Timestamp, max: usize) -> Vec<RoleName> {
        let state = self.read();
        let due = state.roles.iter().filter(|(role, row)| {
            is_online_targets(repository, role) && repository.renewal_due(role, row.expires, now) <= now
        });
        let mut due: Vec<_> = due.map(|(role, row)| (row.expires, role.clone())).collect();
        due.sort();
        due.into_iter().take(max).map(|(_, role)| role).collect()
    }

    /// When the next role of the targets signer has to be renewed, but for some.
    pub(crate) fn next_due(
        &self,
        repository: &Repository,
        now: Timestamp,
        but: impl Fn(&RoleName) -> bool,
    ) -> Option<Timestamp> {
        let state = self.read();
        let online = state.roles.iter().filter(|(role, _)| is_online_targets(repository, role) && !but(role));
        online.map(|(role, row)| repository.renewal_due(role, row.expires, now)).min()
    }

    /// The lane made this visible.
    pub(crate) fn advance(&self, publication: PublicationRow, roles: Vec<(RoleName, RoleRow)>) {
        self.advance_with(publication, roles, || {});
    }

    /// The same, with what must become visible at the same moment.
    pub(crate) fn advance_with(
        &self,
        publication: PublicationRow,
        roles: Vec<(RoleName, RoleRow)>,
        show: impl FnOnce(),
    ) {
        let mut state = self.inner.state.write().unwrap_or_else(PoisonError::into_inner);
        state.publication = publication;
        for role in state.superseded_withdrawals(&roles) {
            state.withdrawn.remove(&role);
        }
        state.roles.extend(roles);
        show();
    }

    /// What is published of one role, with what `look` sees at the same moment.
    pub(crate) fn role_with<T>(&self, role: &RoleName, look: impl FnOnce() -> T) -> (Option<RoleRow>, T) {
        let state = self.read();
        (state.roles.get(role).copied(), look())
    }

    /// Reads and parses the published targets document of a role; none if nothing is published of it.
    ///
    /// # Errors
    /// [`Error::DocumentLost`] if it is not what the journal says.
    pub(crate) async fn targets(&self, role: &RoleName) -> Result<Option<(Targets, RoleRow)>> {
        let Some(row) = self.role(role) else { return Ok(None) };
        Ok(Some((self.read_document(&row.reference(role)).await?, row)))
    }

    /// Reads and parses a document that was written before.
    ///
    /// # Errors
    /// [`Error::DocumentLost`] if it is missing or has another digest.
    pub(crate) async fn read_document<D>(&self, reference: &DocumentRef) -> Result<D>
    where
        D: rstuf_tuf::Document + Send + 'static,
    {
        let bytes = self.document(reference).await?;
        let name = file_name(&reference.role, reference.version);
        let lost = || Error::DocumentLost { name };
        let parse =
            move || rstuf_tuf::Envelope::parse(&bytes).and_then(|envelope| envelope.decode()).map_err(|_| lost());
        blocking(parse).await
    }

    /// Reads the exact bytes of a document that was written before.
    ///
    /// # Errors
    /// [`Error::DocumentLost`] if it is missing or has another digest.
    pub(crate) async fn document(&self, reference: &DocumentRef) -> Result<Bytes> {
        let read = self.documents(vec![reference.clone()]).await?.pop();
        read.ok_or_else(|| Error::DocumentLost { name: file_name(&reference.role, reference.version) })
    }

    /// The same of several documents, in their order.
    ///
    /// # Errors
    /// As [`Published::document`].
    pub(crate) async fn documents(&self, references: Vec<DocumentRef>) -> Result<Vec<Bytes>> {
        let names: Vec<_> = references.iter().map(|it| file_name(&it.role, it.version)).collect();
        let read = self.inner.publisher.documents(references).await?;
        let found = read.into_iter().zip(names);
        found.map(|(document, name)| document.ok_or(Error::DocumentLost { name })).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Top-level targets is signed online in the flat layout only.
fn is_online_targets(repository: &Repository, role: &RoleName) -> bool {
    match role.top_level() {
        None => true,
        Some(rstuf_tuf::TopLevel::Targets) => repository.layout == rstuf_tuf::Layout::Flat,
        Some(_) => false,
    }
}
