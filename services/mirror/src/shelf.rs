//! Files of one kind with their digests; small ones are kept in memory.

use std::{fmt, io, num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;
use rstuf_tuf::Sha256;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{
    bounded::Bounded,
    digests::Digests,
    files::{Directory, Identity, OpenFile},
    gzip,
};

/// Length of the longest file that is kept: a snapshot of 16,384 bins has three quarters of it.
const SMALL_BYTES_MAX: u64 = 1024 * 1024;
/// Files of one shelf that are kept, and what they take.
const KEPT_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
const KEPT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What keeping a file takes besides its bytes.
const ENTRY_BYTES: u64 = 512;

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A metadata document: JSON, worth compressing.
    Metadata,
    /// An artifact: opaque bytes that no browser shall interpret.
    Artifact,
}

/// The files of one directory. Each kind has permits to hash of its own, so that artifacts never keep metadata waiting.
/// Cheap to clone; clones keep the same.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<Inner>);

struct Inner {
    directory: Directory,
    digests: Digests,
    content: Content,
    kept: Bounded<String, Arc<Small>>,
    /// Held by whoever reads a file to keep it. Nobody waits for that: meanwhile others are sent the file itself.
    keeping: Arc<Mutex<()>>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shelf").field("directory", &self.0.directory).finish_non_exhaustive()
    }
}

/// A file as it is now.
pub(crate) struct Found {
    pub(crate) stored: Stored,
    pub(crate) digest: Sha256,
    /// Whether the digest was computed for this answer.
    pub(crate) fresh: bool,
}

/// Where the bytes of a file are.
pub(crate) enum Stored {
    Memory(Arc<Small>),
    Disk(OpenFile),
}

/// A small file, whole.
pub(crate) struct Small {
    pub(crate) bytes: Bytes,
    /// The same by gzip, where it is worth it.
    pub(crate) gzip: Option<Bytes>,
    /// The entity tag of the bytes.
    pub(crate) tag: HeaderValue,
    digest: Sha256,
    identity: Identity,
}

impl Shelf {
    pub(crate) fn new(directory: Directory, digests: Digests, content: Content) -> Self {
        let kept = Bounded::new(KEPT_MAX, KEPT_BYTES_MAX);
        Self(Arc::new(Inner { directory, digests, content, kept, keeping: Arc::default() }))
    }

    pub(crate) fn content(&self) -> Content {
        self.0.content
    }

    /// The file of that name, as the directory has it now: what is kept counts only while the file is the same.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub(crate) async fn find(&self, name: &str) -> io::Result<Option<Found>> {
        if let Some(small) = self.0.kept.get(name) {
            if self.0.directory.look(name)? == Some(small.identity) {
                return Ok(Some(Found { digest: small.digest, stored: Stored::Memory(small), fresh: false }));
            }
            self.0.kept.remove(name);
        }
        let (directory, opened) = (self.0.directory.clone(), name.to_owned());
        let opened = spawn_blocking(move || directory.open(&opened)).await.map_err(io::Error::other)??;
        let Some(file) = opened else { return Ok(None) };
        let known = self.0.digests.of(&file).await?;
        let stored = match self.keep(name, &file, known.digest).await? {
            Some(small) => Stored::Memory(small),
            None => Stored::Disk(file),
        };
        Ok(Some(Found { stored, digest: known.digest, fresh: known.fresh }))
    }

    /// Reads the file into memory, if it is small, nobody else reads one, and it would show in its identity if it were
    /// written to from now on.
    async fn keep(&self, name: &str, file: &OpenFile, digest: Sha256) -> io::Result<Option<Arc<Small>>> {
        if file.length() > SMALL_BYTES_MAX || !self.0.digests.settled(file.identity()) {
            return Ok(None);
        }
        let Ok(turn) = self.0.keeping.clone().try_lock_owned() else { return Ok(None) };
        let (this, name, file) = (self.clone(), name.to_owned(), file.clone());
        let keep = move || {
            let small = Arc::new(Small::read(&file, digest, this.0.content)?);
            this.0.kept.put(name, small.clone(), small.memory_bytes());
            drop(turn);
            Ok(Some(small))
        };
        spawn_blocking(keep).await.map_err(io::Error::other)?
    }
}

impl Stored {
    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory(small) => small.bytes.len() as u64,
            Self::Disk(file) => file.length(),
        }
    }
}

impl Small {
    fn read(file: &OpenFile, digest: Sha256, content: Content) -> io::Result<Self> {
        let bytes = Bytes::from(file.read_at(0, usize::try_from(file.length()).map_err(io::Error::other)?)?);
        file.check_unchanged()?;
        let gzip = if content == Content::Metadata { gzip::whole(&bytes)? } else { None };
        Ok(Self { bytes, gzip, tag: tag(digest), digest, identity: file.identity() })
    }

    fn memory_bytes(&self) -> u64 {
        let gzip = self.gzip.as_ref().map_or(0, Bytes::len);
        (self.bytes.len() + gzip) as u64 + ENTRY_BYTES
    }
}

/// The entity tag of the plain bytes of a file.
pub(crate) fn tag(digest: Sha256) -> HeaderValue {
    // Quotes and hex are always valid.
    HeaderValue::try_from(format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::MetadataExt, time::Duration};

    use jiff::Timestamp;
    use prometheus_client::metrics::counter::Counter;
    use rstuf_runtime::{Clock, ManualClock};
    use tempfile::TempDir;

    use super::*;

    /// A shelf over a folder, at a time in seconds.
    fn shelf(folder: &TempDir, at: i64) -> (Shelf, ManualClock) {
        let (clock, manual) = Clock::manual(Timestamp::from_second(at).unwrap());
        let digests = Digests::new(clock, Counter::default());
        (Shelf::new(Directory::new(folder.path().to_owned()), digests, Content::Artifact), manual)
    }

    async fn is_kept(shelf: &Shelf, name: &str) -> bool {
        matches!(shelf.find(name).await.unwrap().unwrap().stored, Stored::Memory(_))
    }

    #[tokio::test]
    async fn however_many_files_are_read_few_bytes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, _) = shelf(&folder, 0);
        let write = |name: &str, length| File::create(folder.path().join(name)).unwrap().set_len(length).unwrap();
        let small: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        for name in &small {
            write(name, SMALL_BYTES_MAX);
            assert!(is_kept(&shelf, name).await);
        }
        assert!((KEPT_BYTES_MAX - SMALL_BYTES_MAX..=KEPT_BYTES_MAX).contains(&shelf.0.kept.bytes()));
        write("large", SMALL_BYTES_MAX + 1);
        assert!(!is_kept(&shelf, "large").await);
        assert!(shelf.0.kept.get("0").is_none() && shelf.0.kept.get("39").is_some());
        std::fs::remove_file(folder.path().join("39")).unwrap();
        assert!(shelf.find("39").await.unwrap().is_none() && shelf.0.kept.get("39").is_none());
    }

    #[tokio::test]
    async fn what_was_written_just_now_is_kept_later() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "content").unwrap();
        let written = folder.path().join("file").metadata().unwrap().ctime();
        let (shelf, clock) = shelf(&folder, written + 1);
        assert!(!is_kept(&shelf, "file").await);
        clock.advance(Duration::from_secs(1));
        assert!(is_kept(&shelf, "file").await);
    }
}
