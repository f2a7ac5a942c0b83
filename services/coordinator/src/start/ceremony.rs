//! The first ceremony: root 1 comes in, signed by its holders, and the first complete repository goes out.
//!
//! Each step is journalled and may be repeated, so that a ceremony that broke goes on when the same root is sent again,
//! or when the coordinator starts again.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::{DocumentRef, convert::violation};
use rstuf_tuf::{Envelope, Layout, Revision, RoleName, Sha256, Version};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use super::lifetimes;
use crate::{
    Error, Repository, Result,
    backoff::Backoff,
    blocking::blocking,
    fitness::check_signer,
    handles::Handles,
    journal::{
        Entry, Journal,
        rows::{
            BatchRow, CeremonyRow, Lifetimes, RepositoryRow, RolePlan, RoleRow, SignedDocument, TaskError, TaskKind,
            TaskRow, TaskState,
        },
    },
    published::repository::reference,
    publisher::{NamedDocument, file_name},
    signers::Group,
    troubles::Work,
};

/// What a ceremony hands over.
#[derive(Debug, Clone)]
pub(crate) struct Ceremony {
    /// Exact bytes of root 1.
    pub root: Bytes,
    /// Exact bytes of targets 1; empty in the flat layout.
    pub targets: Bytes,
    /// How artifacts are spread over roles.
    pub layout: Layout,
    /// How long what is signed online lives.
    pub lifetimes: Lifetimes,
}

/// Takes ceremonies in, and carries them out.
pub(crate) struct Ceremonies {
    handles: Handles,
    /// One at a time.
    one: Mutex<()>,
    /// One was journalled.
    accepted: Notify,
}

impl Ceremonies {
    /// None is under way, but for what the journal says.
    pub(crate) fn new(handles: Handles) -> Self {
        Self { handles, one: Mutex::new(()), accepted: Notify::new() }
    }

    /// Checks a ceremony whole, and journals it. The same root is answered with the same task.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::OtherRoot`], [`Error::OtherCeremony`], [`Error::Starting`],
    /// [`Error::SignerUnreachable`].
    pub(crate) async fn accept(&self, ceremony: Ceremony) -> Result<Uuid> {
        let _one = self.one.lock().await;
        let asked = ceremony.clone();
        if let Some(task) = self.handles.read(move |journal| known(journal, &asked)).await? {
            // Whoever journalled it may have been interrupted before waking us.
            self.accepted.notify_one();
            return Ok(task);
        }
        // Until then a lost journal may still be rebuilt from what is published.
        if let Err(error @ Error::Starting) = self.handles.published.require_repository() {
            return Err(error);
        }
        let now = self.handles.steady.now();
        let task = self.handles.next_id();
        let row = self.check(ceremony, task).await?;
        let mut entry = Entry::new();
        entry.set_ceremony(Some(&row));
        entry.put_task(task, &TaskRow::new(TaskKind::Ceremony, now));
        self.handles.journal.commit(entry).await?;
        self.accepted.notify_one();
        Ok(task)
    }

    async fn check(&self, ceremony: Ceremony, task: Uuid) -> Result<CeremonyRow> {
        let Ceremony { root, targets, lifetimes, .. } = ceremony.clone();
        let (row, checked) = blocking(move || checked(&ceremony, task)).await?;
        self.check_folder(&RoleName::root(), root).await?;
        self.check_folder(&RoleName::targets(), targets).await?;
        // As one that wrote them, and whose journal was lost before anything was published.
        if lifetimes::read(&*self.handles.publisher, row.repository.id).await?.is_some_and(|it| it != lifetimes) {
            return Err(Error::OtherCeremony { field: "lifetimes" });
        }
        for group in Group::ALL {
            check_signer(&checked, group, &self.handles.signers.describe(group).await?)?;
            // Such a signer never signs version 1 again: the ceremony would never end.
            if self.handles.signers.role_states(group).await?.iter().any(|state| state.watermark > 0) {
                return Err(Error::SignedBefore { group });
            }
        }
        Ok(row)
    }

    /// Refuses a ceremony that would write over what is published. Later would be too late: signers are pinned for
    /// ever.
    async fn check_folder(&self, role: &RoleName, bytes: Bytes) -> Result<()> {
        match self.handles.publisher.read(&file_name(role, Version::ONE)).await? {
            Some(published) if published != bytes => {
                let root = self.handles.publisher.read(&file_name(&RoleName::root(), Version::ONE)).await?;
                let root = root.unwrap_or(published);
                blocking(move || Err(Error::OtherRoot { root: Sha256::of(&root).to_string() })).await
            }
            _ => Ok(()),
        }
    }

    /// Carries ceremonies out until one is held, or the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub(crate) async fn run(self: Arc<Self>) -> Result<()> {
        let mut backoff = Backoff::new(self.handles.shutdown.clone());
        while self.handles.published.repository().is_none() && !self.handles.shutdown.is_triggered() {
            let Some(row) = self.handles.read(Journal::ceremony).await? else {
                tokio::select! {
                    () = self.accepted.notified() => continue,
                    () = self.handles.shutdown.wait() => return Ok(()),
                }
            };
            match self.carry_out(&row).await {
                Ok(()) => self.handles.troubles.ended(Work::Ceremony),
                Err(Error::SignerRefused { group, reason, message, .. }) => {
                    let message = format!("the {group} signer refused to be pinned: {message}");
                    let reason = reason.map_or_else(String::new, |reason| reason.name.to_string());
                    self.fail(&row, TaskError { reason, message }).await?;
                }
                Err(error) if error.is_transient() => {
                    self.handles.troubles.happened(Work::Ceremony, &error);
                    backoff.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn carry_out(&self, row: &CeremonyRow) -> Result<()> {
        let (root, targets) = (Bytes::from(row.root.clone()), Bytes::from(row.targets.clone()));
        for group in Group::ALL {
            self.handles.signers.pin(group, root.clone(), targets.clone()).await?;
        }
        let mut documents = vec![lifetimes::document(&row.repository), named(&RoleName::root(), root)];
        if !targets.is_empty() {
            documents.push(named(&RoleName::targets(), targets));
        }
        self.handles.publisher.write(documents).await?;
        self.handles.publisher.barrier().await?;
        let (now, row) = (self.handles.clock.now(), row.clone());
        let batch = self.handles.ids.next(now);
        let made = self.handles.read(move |journal| {
            journal.store().bind_repository(*row.repository.id.as_bytes())?;
            outcome(&row, batch, now)
        });
        let (repository, root_row, entry) = made.await?;
        self.handles.commit(entry).await?;
        self.handles.published.advance(self.handles.published.publication(), vec![(RoleName::root(), root_row)]);
        tracing::info!(repository = %repository.id, layout = %repository.layout, "the ceremony was held");
        self.handles.published.set_repository(repository);
        Ok(())
    }

    async fn fail(&self, row: &CeremonyRow, error: TaskError) -> Result<()> {
        tracing::error!(reason = error.reason, message = error.message, "the ceremony failed");
        let now = self.handles.clock.now();
        let task = row.repository.task;
        let ended = self.handles.read(move |journal| journal.task(task)).await?;
        let ended = ended.unwrap_or_else(|| TaskRow::new(TaskKind::Ceremony, now));
        let mut entry = Entry::new();
        entry.set_ceremony(None);
        entry.put_task(task, &TaskRow { state: TaskState::Failed, finished: Some(now), error: Some(error), ..ended });
        self.handles.commit(entry).await?;
        self.handles.tasks.settled(&[task]);
        Ok(())
    }
}

/// The task of this very ceremony, if it was held before, or is under way. Blocks.
fn known(journal: &Journal, ceremony: &Ceremony) -> Result<Option<Uuid>> {
    let under_way = journal.ceremony()?.map(|row| row.repository);
    match journal.repository()?.or(under_way) {
        Some(row) if row.id == Sha256::of(&ceremony.root) => match differing(&row, ceremony) {
            Some(field) => Err(Error::OtherCeremony { field }),
            None => Ok(Some(row.task)),
        },
        Some(row) => Err(Error::OtherRoot { root: row.id.to_string() }),
        None => Ok(None),
    }
}

/// What is journalled of a ceremony, and the repository that it would make. Blocks.
fn checked(ceremony: &Ceremony, task: Uuid) -> Result<(CeremonyRow, Repository)> {
    let targets = (!ceremony.targets.is_empty()).then_some(&ceremony.targets[..]);
    let root = reference_in("root", &RoleName::root(), &ceremony.root)?;
    let offline = targets.map(|bytes| reference_in("targets", &RoleName::targets(), bytes)).transpose()?;
    let repository = RepositoryRow {
        id: Sha256::of(&ceremony.root),
        layout: ceremony.layout.to_string(),
        lifetimes: ceremony.lifetimes,
        root,
        targets: offline,
        task,
    };
    let checked = Repository::new(&repository, &ceremony.root, targets)?;
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((CeremonyRow { root: text(&ceremony.root), targets: text(&ceremony.targets), repository }, checked))
}

/// The repository that a ceremony makes, its root, and what is journalled with them. Blocks.
fn outcome(row: &CeremonyRow, batch: Uuid, now: Timestamp) -> Result<(Repository, RoleRow, Entry)> {
    let targets = (!row.targets.is_empty()).then_some(row.targets.as_bytes());
    let repository = Repository::new(&row.repository, row.root.as_bytes(), targets)?;
    let root = RoleRow {
        version: Version::ONE,
        sha256: row.repository.root.sha256,
        length: row.repository.root.length,
        expires: expiry("root", row.root.as_bytes())?,
    };
    let mut entry = Entry::new();
    entry.put_repository(&row.repository);
    entry.put_role(&RoleName::root(), &root);
    entry.set_batch(Some(&first_batch(&repository, row, batch, now)?));
    entry.set_ceremony(None);
    Ok((repository, root, entry))
}

/// The first version of every role that is signed online.
fn first_batch(repository: &Repository, row: &CeremonyRow, id: Uuid, now: Timestamp) -> Result<BatchRow> {
    let roles = repository.online_roles();
    let count = roles.len();
    let plan = |(index, role): (usize, RoleName)| {
        let expires = repository.first_expiry(&role, index, count, now);
        RolePlan {
            role,
            revision: Revision { base: None, version: Version::ONE, expires },
            renew: true,
            withdraws: None,
        }
    };
    let offline = match &row.repository.targets {
        Some(reference) => {
            let expires = expiry("targets", row.targets.as_bytes())?;
            vec![SignedDocument { reference: reference.clone(), expires }]
        }
        None => Vec::new(),
    };
    Ok(BatchRow {
        id,
        submissions: Vec::new(),
        publishes: vec![(0, row.repository.task)],
        roles: roles.into_iter().enumerate().map(plan).collect(),
        offline,
        refusals: 0,
        applied: None,
        signed: None,
    })
}

/// What a ceremony of the same root says otherwise than the one that was held.
fn differing(held: &RepositoryRow, ceremony: &Ceremony) -> Option<&'static str> {
    // Its holders may have signed later ones since.
    let first = held.targets.as_ref().filter(|targets| targets.version == Version::ONE);
    if held.layout != ceremony.layout.to_string() {
        Some("layout")
    } else if held.lifetimes != ceremony.lifetimes {
        Some("lifetimes")
    } else if first.is_some_and(|targets| targets.sha256 != Sha256::of(&ceremony.targets)) {
        Some("targets")
    } else {
        None
    }
}

fn reference_in(field: &'static str, role: &RoleName, bytes: &[u8]) -> Result<DocumentRef> {
    let envelope = Envelope::parse(bytes).map_err(violation(field))?;
    if envelope.version() != Version::ONE {
        return Err(Error::field(field, format!("version {}, the first one is 1", envelope.version())));
    }
    Ok(reference(role, &envelope))
}

fn expiry(field: &'static str, bytes: &[u8]) -> Result<Timestamp> {
    Ok(Envelope::parse(bytes).map_err(violation(field))?.expires())
}

fn named(role: &RoleName, bytes: Bytes) -> NamedDocument {
    NamedDocument { name: file_name(role, Version::ONE), bytes }
}
