//! Opening files of a flat directory, and knowing their digests.
//!
//! Everything that the mirror serves is a file with one checked name in one directory, opened once and read from that
//! open file only: a rename or a deletion meanwhile changes nothing for the reader.

use std::{
    fs::{File, OpenOptions},
    io,
    num::NonZeroUsize,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;
use rstuf_runtime::Clock;
use rstuf_tuf::Sha256;
use rustix::{fs::OFlags, io::Errno};
use sha2::Digest;
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Bytes read from a file at a time: the memory that one response in flight costs.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;

/// Files whose digests are remembered; an entry is about 150 bytes.
const DIGESTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

/// Files hashed at the same time. More would only compete for the same disk and cores with the requests being answered.
const HASHING_MAX: usize = 2;

/// What tells one state of a file from another without reading it. `ctime` is part of it since `mtime` can be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

/// An open regular file, together with what it was when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    file: Arc<File>,
    identity: Identity,
}

impl OpenFile {
    /// Length in bytes when the file was opened.
    pub(crate) fn length(&self) -> u64 {
        self.identity.length
    }

    /// The state of the file when it was opened.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Reads up to `bytes_max` bytes at `offset`; fewer only at the end of what the file was when opened.
    ///
    /// # Errors
    ///
    /// If reading fails or the file became shorter. Blocks.
    pub(crate) fn read_at(&self, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let left = self.length().saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(bytes_max);
        let mut buffer = vec![0; wanted];
        self.file.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    /// Fails when the file was written to since it was opened. Blocks.
    pub(crate) fn check_unchanged(&self) -> io::Result<()> {
        let now = identity(&self.file.metadata()?);
        // A deleted or renamed file changes only its ctime, and its bytes are still the ones that were asked for.
        if (now.modified, now.length) != (self.identity.modified, self.identity.length) {
            return Err(io::Error::other("file changed while it was read"));
        }
        Ok(())
    }

    fn digest(&self) -> io::Result<Sha256> {
        let mut hasher = sha2::Sha256::new();
        let mut offset = 0;
        while offset < self.length() {
            let chunk = self.read_at(offset, CHUNK_BYTES)?;
            offset += chunk.len() as u64;
            hasher.update(&chunk);
        }
        Ok(Sha256::from(<[u8; 32]>::from(hasher.finalize())))
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        length: metadata.len(),
    }
}

/// A directory whose files are served under their own names.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: Arc<Path>,
}

impl Directory {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path: path.into() }
    }

    /// Opens the regular file `name`, or says that there is none. Blocks.
    ///
    /// `name` has been checked by its caller to be one plain path component. A symbolic link is no file here, wherever
    /// it leads: nothing outside the directory can be reached through it.
    ///
    /// # Errors
    ///
    /// If the file is there but can't be opened.
    pub(crate) fn open(&self, name: &str) -> io::Result<Option<OpenFile>> {
        debug_assert!(!name.contains(['/', '\0']) && name != "." && name != "..");
        // NONBLOCK: opening a named pipe must not hang; regular files don't care.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(self.path.join(name));
        let file = match opened {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        Ok(Some(OpenFile { identity: identity(&metadata), file: Arc::new(file) }))
    }
}

/// Whether an error of opening means that there is no such file to serve: no name, a link, a socket, a name too long.
fn is_absent(error: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG, Errno::NXIO];
    Errno::from_io_error(error).is_some_and(|error| absent.contains(&error))
}

/// A file that changed so recently may change again without a new time: those of some file systems have coarse steps.
const SETTLED_AFTER_SECONDS: u64 = 1;

/// The digests of files, computed once for each state of a file and remembered for the files used last.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    clock: Clock,
    known: Arc<Mutex<LruCache<Identity, Sha256>>>,
    hashing: Arc<Semaphore>,
}

/// A digest, and whether it was computed for this answer.
pub(crate) struct Known {
    pub(crate) digest: Sha256,
    pub(crate) fresh: bool,
}

impl Digests {
    pub(crate) fn new(clock: Clock) -> Self {
        let known = Arc::new(Mutex::new(LruCache::new(DIGESTS_MAX)));
        Self { clock, known, hashing: Arc::new(Semaphore::new(HASHING_MAX)) }
    }

    /// The SHA-256 of the file's bytes.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or was written to while it was.
    pub(crate) async fn of(&self, file: &OpenFile) -> io::Result<Known> {
        if let Some(digest) = self.get(file.identity) {
            return Ok(Known { digest, fresh: false });
        }
        let _permit = self.hashing.acquire().await.map_err(io::Error::other)?;
        // Whoever held the permit before may have hashed this very file.
        if let Some(digest) = self.get(file.identity) {
            return Ok(Known { digest, fresh: false });
        }
        let settled = self.clock.now().as_second().abs_diff(file.identity.changed.0) > SETTLED_AFTER_SECONDS;
        let hashed = file.clone();
        let digest = spawn_blocking(move || {
            let digest = hashed.digest()?;
            hashed.check_unchanged()?;
            io::Result::Ok(digest)
        })
        .await
        .map_err(io::Error::other)??;
        if settled {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).put(file.identity, digest);
        }
        Ok(Known { digest, fresh: true })
    }

    fn get(&self, identity: Identity) -> Option<Sha256> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).copied()
    }
}
