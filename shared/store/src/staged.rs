//! Large values written ahead of the batch that puts them: so a batch of many needs no memory for all of them, and has
//! one barrier for them all.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::files;

/// SHA-256 of a large value: the name of its file.
pub(crate) type BlobDigest = [u8; 32];

/// A value that was written, see [`crate::StateStore::stage`]. It is neither durable nor seen by anybody before a batch
/// that puts it is committed. When the last clone is dropped without that, it is deleted.
#[derive(Debug, Clone)]
pub struct Staged(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    temporary: PathBuf,
    digest: BlobDigest,
    bytes: u64,
    /// Whether the file has its own name by now.
    named: AtomicBool,
}

impl Staged {
    /// Writes a value, which has this digest, into the directory of large values. Several may be written of one value.
    pub(crate) fn ahead(dir: &Path, digest: BlobDigest, value: &[u8]) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::write(dir.join(format!("{}-{number}.new", hex::encode(digest))), digest, value)
    }

    /// The same, by whoever commits.
    pub(crate) fn at_once(dir: &Path, digest: BlobDigest, value: &[u8]) -> io::Result<Self> {
        Self::write(dir.join(format!("{}.new", hex::encode(digest))), digest, value)
    }

    fn write(temporary: PathBuf, digest: BlobDigest, value: &[u8]) -> io::Result<Self> {
        let named = AtomicBool::new(false);
        let staged = Self(Arc::new(Inner { temporary, digest, bytes: value.len() as u64, named }));
        files::write(&staged.0.temporary, value)?;
        Ok(staged)
    }

    /// Bytes of the value.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    pub(crate) fn digest(&self) -> BlobDigest {
        self.0.digest
    }

    /// Makes the bytes durable.
    pub(crate) fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(if self.is_named() { path } else { &self.0.temporary })?.sync_all()
    }

    /// Gives the file its own name, unless it has that already, from a commit that was refused later on.
    pub(crate) fn rename(&self, path: &Path) -> io::Result<()> {
        if self.is_named() {
            return fs::metadata(path).map(drop);
        }
        fs::rename(&self.0.temporary, path)?;
        self.0.named.store(true, Ordering::Release);
        Ok(())
    }

    fn is_named(&self) -> bool {
        self.0.named.load(Ordering::Acquire)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !*self.named.get_mut() {
            // What is left is deleted by the next start.
            drop(fs::remove_file(&self.temporary));
        }
    }
}
