//! Where published metadata goes: write, barrier, replace.
//!
//! Whatever stands behind the trait (a directory now), a client that follows the specification must succeed at every
//! instant. So documents are written first, under names that carry their version and never change; when the barrier has
//! returned they are durable and visible; only then is `timestamp.json`, the one name that changes, replaced.

mod directory;
mod lock;

use async_trait::async_trait;
use bytes::Bytes;
use rstuf_api::DocumentRef;
pub(crate) use rstuf_tuf::file::TIMESTAMP as TIMESTAMP_FILE;
use rstuf_tuf::{MetadataFile, RoleName, Version};

use crate::Result;

pub(crate) use directory::DirectoryPublisher;

/// The contract of a place for published metadata.
#[async_trait]
pub(crate) trait Publisher: Send + Sync {
    /// Whether so many bytes more leave so much free.
    ///
    /// # Errors
    /// [`crate::Error::Store`] where they do not.
    async fn check_space(&self, leaves: u64, bytes: u64) -> Result<()>;

    /// Writes documents that no published one refers to yet. They may be visible before [`Publisher::barrier`] returns,
    /// but never half written. Writing the same bytes again changes nothing.
    ///
    /// # Errors
    /// [`crate::Error::PublishConflict`] if a name exists with other bytes, [`crate::Error::Publish`].
    async fn write(&self, documents: Vec<NamedDocument>) -> Result<()>;

    /// When it returns, everything written before is durable and visible.
    ///
    /// # Errors
    /// [`crate::Error::Publish`], [`crate::Error::Store`].
    async fn barrier(&self) -> Result<()>;

    /// Replaces `timestamp.json` atomically and durably.
    ///
    /// # Errors
    /// [`crate::Error::Publish`], [`crate::Error::Store`].
    async fn replace_timestamp(&self, bytes: Bytes) -> Result<()>;

    /// Reads a document; none if it is not there.
    ///
    /// # Errors
    /// [`crate::Error::Publish`].
    async fn read(&self, name: &str) -> Result<Option<Bytes>>;

    /// Reads the documents that references name, in their order; none for each that is not there, or is another one.
    ///
    /// # Errors
    /// [`crate::Error::Publish`].
    async fn documents(&self, references: Vec<DocumentRef>) -> Result<Vec<Option<Bytes>>>;

    /// Names of all documents.
    ///
    /// # Errors
    /// [`crate::Error::Publish`].
    async fn list(&self) -> Result<Vec<String>>;

    /// Deletes documents; a name that is not there is no error.
    ///
    /// # Errors
    /// [`crate::Error::Publish`].
    async fn delete(&self, names: Vec<String>) -> Result<()>;
}

/// A document under the name that clients ask for.
#[derive(Debug, Clone)]
pub(crate) struct NamedDocument {
    /// For example `7.bins-0a.json`.
    pub name: String,
    /// Exact bytes.
    pub bytes: Bytes,
}

/// The name of a document's file.
pub(crate) fn file_name(role: &RoleName, version: Version) -> String {
    MetadataFile::of(role, version).to_string()
}
