//! A directory that a mirror on the same node serves.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use rstuf_api::DocumentRef;
use rstuf_store::{create_dir, sync_dir};
use rstuf_tuf::Sha256;

use super::{NamedDocument, Publisher, TIMESTAMP_FILE, file_name, lock};
use crate::{Error, Result, blocking::blocking, error::Action};

/// Files being written have names that no client can ask for and no listing shows.
const TEMPORARY_PREFIX: &str = ".writing-";

/// Up to this many files are fsynced one by one; for more, one `syncfs` is cheaper.
const FSYNC_EACH_MAX: usize = 32;

/// The journal is mostly on the same disk, and can't be opened again when that is full: so both keep the same floor.
const FREE_BYTES_MIN: u64 = rstuf_store::Options::FREE_BYTES_MIN;

/// Publishes into `DIR/metadata`.
pub(crate) struct DirectoryPublisher {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    /// Names that were written under temporary names since the last barrier. Held while a file is written and while a
    /// barrier renames: the batcher and the lane share the folder, and a call that was given up may still be writing
    /// when it is made again, so that a name could become visible half written.
    written: Mutex<HashSet<String>>,
}

impl DirectoryPublisher {
    /// Creates `dir/metadata` where it is missing, and clears away what a crash left half written. `owner` is what
    /// another coordinator is told that would publish there too.
    ///
    /// # Errors
    /// [`Error::PublishedInUse`], [`Error::Publish`], [`Error::Store`].
    pub(crate) fn open(dir: &Path, owner: &str) -> Result<Self> {
        let folder = dir.join("metadata");
        create_dir(&folder)?;
        let lock = lock::take(dir, owner)?;
        for entry in fs::read_dir(&folder).map_err(Error::publish(Action::Read, &folder))? {
            let entry = entry.map_err(Error::publish(Action::Read, &folder))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                fs::remove_file(entry.path()).map_err(Error::publish(Action::Delete, &entry.path()))?;
            }
        }
        sync_dir(&folder)?;
        sync_dir(dir)?;
        Ok(Self { inner: Arc::new(Inner { folder, _lock: lock, written: Mutex::default() }) })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.inner.clone();
        blocking(move || work(&inner)).await
    }
}

#[async_trait]
impl Publisher for DirectoryPublisher {
    async fn check_space(&self, leaves: u64, bytes: u64) -> Result<()> {
        self.blocking(move |inner| inner.check_space(leaves, bytes)).await
    }

    async fn write(&self, documents: Vec<NamedDocument>) -> Result<()> {
        self.blocking(move |inner| documents.iter().try_for_each(|document| inner.write(document))).await
    }

    async fn barrier(&self) -> Result<()> {
        self.blocking(Inner::barrier).await
    }

    async fn replace_timestamp(&self, bytes: Bytes) -> Result<()> {
        self.blocking(move |inner| {
            let path = inner.temporary(TIMESTAMP_FILE);
            inner.check_space(FREE_BYTES_MIN, bytes.len() as u64)?;
            write_durably(&path, &bytes)?;
            inner.rename(TIMESTAMP_FILE)?;
            Ok(sync_dir(&inner.folder)?)
        })
        .await
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.read(&name)).await
    }

    async fn documents(&self, references: Vec<DocumentRef>) -> Result<Vec<Option<Bytes>>> {
        self.blocking(move |inner| {
            let read = |reference: &DocumentRef| {
                let read = inner.read(&file_name(&reference.role, reference.version))?;
                Ok(read.filter(|bytes| Sha256::of(bytes) == reference.sha256))
            };
            references.iter().map(read).collect()
        })
        .await
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.blocking(|inner| {
            let mut names = Vec::new();
            for entry in fs::read_dir(&inner.folder).map_err(Error::publish(Action::Read, &inner.folder))? {
                let name = entry
                    .map_err(Error::publish(Action::Read, &inner.folder))?
                    .file_name()
                    .to_string_lossy()
                    .into_owned();
                if !name.starts_with(TEMPORARY_PREFIX) {
                    names.push(name);
                }
            }
            Ok(names)
        })
        .await
    }

    async fn delete(&self, names: Vec<String>) -> Result<()> {
        self.blocking(move |inner| {
            for name in names {
                let path = inner.folder.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::publish(Action::Delete, &path)(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

impl Inner {
    fn write(&self, document: &NamedDocument) -> Result<()> {
        let mut written = self.written();
        if let Some(existing) = self.read(&document.name)? {
            // Its bytes were durable before it had this name; the next barrier, or the last start, covers the name.
            return if existing == document.bytes {
                Ok(())
            } else {
                Err(Error::PublishConflict { path: self.folder.join(&document.name) })
            };
        }
        let path = self.temporary(&document.name);
        self.check_space(FREE_BYTES_MIN, document.bytes.len() as u64)?;
        fs::write(&path, &document.bytes).map_err(Error::publish(Action::Write, &path))?;
        written.insert(document.name.clone());
        Ok(())
    }

    fn check_space(&self, leaves: u64, bytes: u64) -> Result<()> {
        Ok(rstuf_store::check_space(&self.folder, leaves, bytes)?)
    }

    fn barrier(&self) -> Result<()> {
        let mut written = self.written();
        let names = std::mem::take(&mut *written);
        if names.len() > FSYNC_EACH_MAX {
            let folder = File::open(&self.folder).map_err(Error::publish(Action::Open, &self.folder))?;
            rustix::fs::syncfs(folder).map_err(|error| Error::publish(Action::Sync, &self.folder)(error.into()))?;
        } else {
            for name in &names {
                let path = self.temporary(name);
                File::open(&path).and_then(|file| file.sync_all()).map_err(Error::publish(Action::Sync, &path))?;
            }
        }
        for name in &names {
            self.rename(name)?;
        }
        Ok(sync_dir(&self.folder)?)
    }

    fn rename(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::rename(self.temporary(name), &path).map_err(Error::publish(Action::Rename, &path))
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::publish(Action::Read, &path)(error)),
        }
    }

    fn written(&self) -> MutexGuard<'_, HashSet<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{TEMPORARY_PREFIX}{name}"))
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::publish(Action::Write, path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(dir: &Path) -> DirectoryPublisher {
        DirectoryPublisher::open(dir, "this test").unwrap()
    }

    fn document(name: &str, bytes: &[u8]) -> NamedDocument {
        NamedDocument { name: name.to_owned(), bytes: Bytes::copy_from_slice(bytes) }
    }

    async fn content(publisher: &DirectoryPublisher, name: &str) -> Option<Bytes> {
        publisher.read(name).await.unwrap()
    }

    /// Nothing is visible before the barrier; what a crash left half written before it is cleared away, and written
    /// again.
    #[tokio::test]
    async fn shows_documents_at_the_barrier_only() {
        let dir = tempfile::tempdir().unwrap();
        for documents in [1, FSYNC_EACH_MAX + 1] {
            let names: Vec<_> = (0..documents).map(|number| format!("{documents}{number}.bins-0.json")).collect();
            let all: Vec<_> = names.iter().map(|name| document(name, name.as_bytes())).collect();
            let publisher = open(dir.path());
            let before = publisher.list().await.unwrap();
            publisher.write(all.clone()).await.unwrap();
            assert_eq!(publisher.list().await.unwrap(), before);
            drop(publisher);

            let publisher = open(dir.path());
            publisher.barrier().await.unwrap();
            assert_eq!(publisher.list().await.unwrap(), before, "what was given up stays away");
            publisher.write(all.clone()).await.unwrap();
            publisher.barrier().await.unwrap();
            publisher.write(all).await.unwrap();
            for name in &names {
                assert_eq!(content(&publisher, name).await.unwrap(), name.as_bytes());
            }
            let listed = publisher.list().await.unwrap();
            assert_eq!(listed.len(), before.len() + documents, "nothing temporary is left");
        }
    }

    /// A name never gets other bytes, neither before nor after a restart; timestamp.json alone is replaced.
    #[tokio::test]
    async fn refuses_other_bytes_under_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let publisher = open(dir.path());
        publisher.write(vec![document("1.snapshot.json", b"one")]).await.unwrap();
        publisher.barrier().await.unwrap();
        publisher.replace_timestamp(Bytes::from_static(b"old")).await.unwrap();
        publisher.replace_timestamp(Bytes::from_static(b"new")).await.unwrap();
        drop(publisher);
        let publisher = open(dir.path());
        let refused = publisher.write(vec![document("1.snapshot.json", b"two")]).await;
        assert!(matches!(refused, Err(Error::PublishConflict { .. })), "{refused:?}");
        publisher.barrier().await.unwrap();
        assert_eq!(content(&publisher, "1.snapshot.json").await.unwrap(), "one");
        assert_eq!(content(&publisher, TIMESTAMP_FILE).await.unwrap(), "new");
        publisher.delete(vec!["1.snapshot.json".to_owned(), "absent.json".to_owned()]).await.unwrap();
        assert_eq!(content(&publisher, "1.snapshot.json").await, None);
    }

    /// The batcher writes (and writes again, as after a call that broke) while the lane sets barriers: whatever a
    /// reader finds under its name is whole.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn never_shows_half_a_document() {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Arc::new(open(dir.path()));
        let bytes = vec![7; 1024 * 1024];
        for round in 0..20 {
            let name = format!("{round}.bins-0.json");
            let write = || {
                let (publisher, document) = (publisher.clone(), document(&name, &bytes));
                tokio::spawn(async move { publisher.write(vec![document]).await })
            };
            let barrier = || {
                let publisher = publisher.clone();
                tokio::spawn(async move { publisher.barrier().await })
            };
            let all = [write(), barrier(), write(), barrier(), write(), barrier()];
            while !all.iter().all(tokio::task::JoinHandle::is_finished) {
                let visible = content(&publisher, &name).await;
                assert!(visible.is_none_or(|visible| visible == bytes), "round {round}: half a document");
            }
            for ended in all {
                ended.await.unwrap().unwrap();
            }
            publisher.barrier().await.unwrap();
            assert_eq!(content(&publisher, &name).await.unwrap(), bytes);
        }
    }
}
