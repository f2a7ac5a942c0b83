//! What a client remembers between refreshes: the last verified bytes of each document. Everything read back is
//! verified again, so this is no source of trust; losing it loses only the knowledge by which a rollback is noticed.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use rstuf_tuf::Error as Refused;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::Error;

/// Longest file that is read back, in bytes; nothing longer is ever kept.
const KEPT_BYTES_MAX: u64 = rstuf_tuf::DOCUMENT_BYTES_MAX as u64;

/// The remembered documents, by file name.
#[derive(Debug)]
pub(crate) enum State {
    /// Until the process ends.
    Memory(BTreeMap<String, Vec<u8>>),
    /// In a directory that this client has to itself.
    Directory(PathBuf),
}

impl State {
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        directory.map_or(Self::Memory(BTreeMap::new()), Self::Directory)
    }

    /// The document last kept under `name`.
    ///
    /// # Errors
    ///
    /// If there is one that can't be read. To go on without it would let a rollback pass.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Memory(documents) => Ok(documents.get(name).cloned()),
            Self::Directory(directory) => blocking(directory.join(name), read).await,
        }
    }

    /// What is wrong with a document kept under `name`, if its age is not all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub(crate) fn check(&self, name: &str, verdict: Result<(), rstuf_tuf::Error>) -> Result<(), Error> {
        match verdict {
            Ok(()) | Err(Refused::Expired { .. } | Refused::VersionMismatch { .. } | Refused::OutOfOrder { .. }) => {
                Ok(())
            }
            Err(source) => Err(Error::Damaged { path: self.path(name), source }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Memory(_) => name.into(),
            Self::Directory(directory) => directory.join(name),
        }
    }

    /// Keeps a verified document; in a directory atomically, so that whoever looks, even after a power cut, sees the
    /// old one or the new one.
    pub(crate) async fn keep(&mut self, name: &str, document: Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Memory(documents) => {
                documents.insert(name.to_owned(), document);
                Ok(())
            }
            Self::Directory(directory) => blocking(directory.join(name), move |path| write(path, &document)).await,
        }
    }

    /// Forgets the document kept under `name`, for good.
    pub(crate) async fn forget(&mut self, name: &str) -> Result<(), Error> {
        match self {
            Self::Memory(documents) => {
                documents.remove(name);
                Ok(())
            }
            Self::Directory(directory) => blocking(directory.join(name), remove).await,
        }
    }
}

/// Runs blocking work on a file.
pub(crate) async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let worked = spawn_blocking({
        let path = path.clone();
        move || work(&path)
    });
    let done = worked.await.map_err(io::Error::other).flatten();
    done.map_err(|source| Error::File { path, source })
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut document = Vec::new();
    file.take(KEPT_BYTES_MAX).read_to_end(&mut document)?;
    Ok(Some(document))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => std::fs::File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all(),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The name must last too: after a power cut the older document would let a rollback pass.
    std::fs::File::open(directory)?.sync_all()
}
