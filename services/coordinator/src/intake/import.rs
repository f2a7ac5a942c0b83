//! An open import: its changes are journalled in parts as they come, and acknowledged together.

use std::sync::Arc;

use rstuf_api::RequestId;
use rstuf_tuf::Change;
use sha2::Digest as _;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{
    door::Door,
    queue::{self, Load},
    request::{Kind, Parts, body_digest, refusal},
    state::State,
};
use crate::{
    Error, Result,
    journal::{EncodedChanges, Entry},
};

/// Imports open at a time.
pub(super) const IMPORTS_MAX: usize = 8;
/// An import is journalled in parts of so many changes, or bytes; its last message may make a part larger.
const PART_CHANGES: u64 = 10_000;
const PART_BYTES: usize = 1024 * 1024;

/// An open import.
pub(crate) struct Import {
    state: Arc<State>,
    door: Door,
    request_id: Option<RequestId>,
    hold: bool,
    changes: u64,
    bytes: u64,
    body: sha2::Sha256,
    /// Changes that are not journalled yet.
    buffer: EncodedChanges,
    parts: Parts,
    _permit: OwnedSemaphorePermit,
}

impl Import {
    /// Opens one, if there is a place for it.
    ///
    /// # Errors
    /// [`Error::NoCeremony`], [`Error::Full`].
    pub(super) fn open(state: Arc<State>, door: Door, request_id: Option<RequestId>, hold: bool) -> Result<Self> {
        state.admit(Load { submissions: 1, ..Load::default() }, hold)?;
        let permit = state.imports.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::Full { what: "open imports", max: IMPORTS_MAX as u64 })?;
        let parts = Parts { journal: state.journal.clone(), task: state.next_id(), count: 0, kept: false };
        Ok(Self {
            state,
            door,
            request_id,
            hold,
            changes: 0,
            bytes: 0,
            body: sha2::Sha256::new(),
            buffer: EncodedChanges::default(),
            parts,
            _permit: permit,
        })
    }

    /// Takes more changes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::DiskFull`], [`Error::Invalid`]: then the import is over and nothing of it takes effect.
    pub(crate) async fn add(&mut self, changes: &[Change]) -> Result<()> {
        let changes = EncodedChanges::of(changes);
        self.body.update(changes.as_bytes());
        self.changes += changes.count();
        self.bytes += changes.as_bytes().len() as u64;
        if self.bytes > queue::BYTES_PER_BATCH_MAX {
            let max = queue::BYTES_PER_BATCH_MAX;
            return Err(Error::field("changes", format!("more than {max} bytes in one import: make two of it")));
        }
        let load = Load { submissions: 1, changes: self.changes, bytes: self.bytes };
        self.state.queue().admit(load, self.hold, Load::default(), Load::default())?;
        self.buffer.append(&changes);
        if self.buffer.count() < PART_CHANGES && self.buffer.as_bytes().len() < PART_BYTES {
            return Ok(());
        }
        self.journal_part().await
    }

    async fn journal_part(&mut self) -> Result<()> {
        let mut entry = Entry::new();
        entry.put_part(self.parts.task, self.parts.count, std::mem::take(&mut self.buffer));
        // Counted first: if the caller goes away meanwhile, it may be journalled all the same.
        self.parts.count += 1;
        self.parts.journal.commit(entry).await.map_err(|error| refusal(&error))
    }

    /// Acknowledges the whole import.
    ///
    /// # Errors
    /// As for a submission.
    pub(crate) async fn close(mut self) -> Result<Uuid> {
        if self.changes == 0 {
            return Err(Error::field("changes", "the import is empty, allowed is at least one change"));
        }
        if self.buffer.count() > 0 {
            self.journal_part().await?;
        }
        let Self { door, request_id, hold, changes, bytes, body, parts, _permit, .. } = self;
        let (task, body) = (parts.task, body_digest(body, hold));
        door.ask(task, Kind::Import { parts, changes, bytes, hold }, request_id, body).await
    }
}
