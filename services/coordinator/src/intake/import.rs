//! An import that is streamed in one call, and dropped with it.

use rstuf_api::RequestId;
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use uuid::Uuid;

use super::imports::{Imports, detached};
use crate::{Error, Result, journal::EncodedChanges};

/// It is appended to in parts of so many changes, or bytes; its last message may make a part larger.
const PART_CHANGES: u64 = 10_000;
const PART_BYTES: usize = 1024 * 1024;

/// An import that is streamed in one call.
pub(crate) struct Import {
    imports: Imports,
    id: Uuid,
    next_offset: u64,
    /// Changes that are not appended yet.
    buffer: EncodedChanges,
    /// The part that becomes durable while the next one comes in.
    appending: Option<JoinHandle<Result<()>>>,
    /// Whether whoever commits it decides what becomes of it.
    committing: bool,
}

impl Import {
    /// Opens one. If the caller goes away meanwhile, nobody takes it, and it is dropped like one that broke off.
    ///
    /// # Errors
    /// As [`Imports::create`].
    pub(super) async fn open(imports: Imports, request_id: Option<RequestId>, hold: bool) -> Result<Self> {
        detached(async move {
            let id = imports.create(request_id, hold, true).await?.id;
            let buffer = EncodedChanges::default();
            Ok(Self { imports, id, next_offset: 0, buffer, appending: None, committing: false })
        })
        .await
    }

    /// Takes more changes.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::DiskFull`], [`Error::Invalid`], of these changes or of those before: then the import
    /// is over and nothing of it takes effect.
    pub(crate) async fn add(&mut self, changes: &EncodedChanges) -> Result<()> {
        self.buffer.append(changes);
        if self.buffer.count() < PART_CHANGES && self.buffer.as_bytes().len() < PART_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        self.appended().await?;
        let (imports, id, offset) = (self.imports.clone(), self.id, self.next_offset);
        let part = std::mem::take(&mut self.buffer);
        self.next_offset += part.count();
        let append = async move { imports.append(id, offset, part).await.map(drop) };
        self.appending = Some(tokio::spawn(append.in_current_span()));
        Ok(())
    }

    async fn appended(&mut self) -> Result<()> {
        match self.appending.take() {
            Some(appending) => appending.await.map_err(|_| Error::Stopping)?,
            None => Ok(()),
        }
    }

    /// Acknowledges the whole import.
    ///
    /// # Errors
    /// As for a submission.
    pub(crate) async fn close(mut self) -> Result<Uuid> {
        if self.buffer.count() > 0 {
            self.flush().await?;
        }
        self.appended().await?;
        self.committing = true;
        let (imports, id, offset) = (self.imports.clone(), self.id, self.next_offset);
        detached(async move {
            let committed = imports.commit(id, Some(offset)).await;
            // While the process stops, only its next start can tell whether it was acknowledged.
            let open = !matches!(committed, Err(Error::Stopping)) && !matches!(committed, Ok(task) if task == id);
            if open {
                delete(&imports, id).await;
            }
            committed
        })
        .await
    }
}

impl Drop for Import {
    /// In the trace of the call that broke off. If the process dies before it is deleted, the next start deletes it.
    fn drop(&mut self) {
        if !self.committing {
            let (imports, id) = (self.imports.clone(), self.id);
            tokio::spawn(async move { delete(&imports, id).await }.in_current_span());
        }
    }
}

async fn delete(imports: &Imports, id: Uuid) {
    if let Err(error) = imports.delete(id).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(import = %id, error, "parts of a broken import stay until the next start, or for a day");
    }
}
