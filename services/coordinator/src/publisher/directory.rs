//! A directory that a mirror on the same node serves.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{NamedDocument, Publisher, TIMESTAMP_FILE};
use crate::{Error, Result};

/// Files being written have names that no client can ask for and no listing shows.
const TEMPORARY_PREFIX: &str = ".writing-";

/// Up to this many files are fsynced one by one; for more, one `syncfs` is cheaper.
const FSYNC_EACH_MAX: usize = 32;

/// Publishes into `DIR/metadata`.
pub(crate) struct DirectoryPublisher {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    /// Names that were written under temporary names since the last barrier.
    written: Mutex<HashSet<String>>,
}

impl DirectoryPublisher {
    /// Creates `dir/metadata` where it is missing, and clears away what a crash left half written.
    ///
    /// # Errors
    /// [`Error::Publish`].
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let folder = dir.join("metadata");
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
            let entry = entry.map_err(failed("read", &folder))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                fs::remove_file(entry.path()).map_err(failed("delete", &entry.path()))?;
            }
        }
        sync_folder(&folder)?;
        sync_folder(dir)?;
        Ok(Self { inner: Arc::new(Inner { folder, written: Mutex::default() }) })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Stopping),
        }
    }
}

#[async_trait]
impl Publisher for DirectoryPublisher {
    async fn write(&self, documents: Vec<NamedDocument>) -> Result<()> {
        self.blocking(move |inner| documents.iter().try_for_each(|document| inner.write(document))).await
    }

    async fn barrier(&self) -> Result<()> {
        self.blocking(Inner::barrier).await
    }

    async fn replace_timestamp(&self, bytes: Bytes) -> Result<()> {
        self.blocking(move |inner| {
            write_durably(&inner.temporary(TIMESTAMP_FILE), &bytes)?;
            inner.rename(TIMESTAMP_FILE)?;
            sync_folder(&inner.folder)
        })
        .await
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.read(&name)).await
    }

    async fn list(&self) -> Result<Vec<String>> {
        self.blocking(|inner| {
            let mut names = Vec::new();
            for entry in fs::read_dir(&inner.folder).map_err(failed("read", &inner.folder))? {
                let name = entry.map_err(failed("read", &inner.folder))?.file_name().to_string_lossy().into_owned();
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
                        return Err(failed("delete", &path)(error));
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
        if let Some(existing) = self.read(&document.name)? {
            // It may have become visible without being durable: the barrier has to cover it again.
            return if existing == document.bytes {
                Ok(())
            } else {
                Err(Error::PublishConflict { path: self.folder.join(&document.name) })
            };
        }
        let path = self.temporary(&document.name);
        fs::write(&path, &document.bytes).map_err(failed("write", &path))?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(document.name.clone());
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        let names = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        if names.len() > FSYNC_EACH_MAX {
            let folder = File::open(&self.folder).map_err(failed("open", &self.folder))?;
            rustix::fs::syncfs(folder).map_err(|error| failed("sync", &self.folder)(error.into()))?;
        } else {
            for name in &names {
                let path = self.temporary(name);
                File::open(&path).and_then(|file| file.sync_all()).map_err(failed("sync", &path))?;
            }
        }
        for name in &names {
            self.rename(name)?;
        }
        sync_folder(&self.folder)
    }

    fn rename(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::rename(self.temporary(name), &path).map_err(failed("rename", &path))
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.folder.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
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
    write().map_err(failed("write", path))
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(failed("sync", folder))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Publish { action, path: path.to_owned(), source }
}
