//! Opening files of a flat directory.
//!
//! Everything that the mirror serves is a file with one checked name in one directory, opened once and read from that
//! open file only: a rename or a deletion meanwhile changes nothing for the reader.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut},
    num::NonZeroU64,
    ops::Range,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rstuf_tuf::Sha256;
use rustix::{
    fs::{Advice, OFlags, fadvise, sendfile},
    io::{Errno, ReadWriteFlags, preadv2},
};
use sha2::Digest;

/// Bytes read from a file at a time.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;

/// How far apart the pages stand of which the system is asked whether it has them: to ask for each takes longer than to
/// send it, and what it gives up, it gives up in pieces that are seldom shorter.
const ASKED_BYTES: usize = 64 * 1024;

/// What tells one state of a file from another without reading it. `ctime` is part of it since `mtime` can be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

impl Identity {
    /// When it was written to, renamed or changed otherwise, by the clock of the file system.
    pub(crate) fn changed_second(&self) -> i64 {
        self.changed.0
    }
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

    /// Whether the system has this part of the file in memory, as far as pages tell that stand not far apart, and the
    /// next part too, as far as its end tells. Where it can't say so without reading from the disk, it does not.
    pub(crate) fn is_loaded(&self, part: &Range<u64>) -> bool {
        let (ends, mut byte) = ([part.end, self.next_end(part)].map(|end| end.saturating_sub(1)), [0]);
        part.clone().step_by(ASKED_BYTES).chain(ends).all(|at| {
            let read = preadv2(&self.file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT);
            read.is_ok_and(|read| read == 1)
        })
    }

    /// Has the system read a part of the file, and waits until it has every page of it; the next one comes from the
    /// disk while this one is sent. Blocks.
    ///
    /// # Errors
    ///
    /// If reading fails or the file became shorter.
    pub(crate) fn load(&self, part: &Range<u64>) -> io::Result<()> {
        let length = NonZeroU64::new(self.next_end(part).saturating_sub(part.start));
        fadvise(&self.file, part.start, length, Advice::WillNeed)?;
        // Nobody takes the bytes, and nothing copies them.
        let (nowhere, mut left) = (File::options().write(true).open("/dev/null")?, part.clone());
        while !left.is_empty() {
            left.start += self.send(&nowhere, &left)? as u64;
        }
        Ok(())
    }

    /// Where a part of the same length after this one ends.
    fn next_end(&self, part: &Range<u64>) -> u64 {
        part.end.saturating_add(part.end - part.start).min(self.length())
    }

    /// Sends the beginning of a part of the file without copying it here; says how many bytes. Waits for the disk only
    /// where the part was not [loaded](Self::load), or long ago.
    pub(crate) fn send(&self, to: impl AsFd, part: &Range<u64>) -> io::Result<usize> {
        let length = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        match sendfile(to, &self.file, Some(&mut part.start.clone()), length)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "file became shorter while it was sent")),
            sent => Ok(sent),
        }
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

    /// The SHA-256 of its bytes, read once more. Blocks.
    pub(crate) fn digest(&self) -> io::Result<Sha256> {
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

    /// What the regular file `name` is now, if there is one. Asks for a name that was opened a moment ago, and for
    /// nothing that it takes a disk to know.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub(crate) fn look(&self, name: &str) -> io::Result<Option<Identity>> {
        match self.path.join(name).symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(identity(&metadata))),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const KIB: usize = 1024;

    /// Whoever sends a part waits for what the system has not, wherever that is.
    #[test]
    fn a_part_with_a_hole_is_not_in_memory() {
        // Where files are on a disk, and not in memory alone.
        let dir = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")).unwrap();
        let (length, path) = (2_048 * KIB, dir.path().join("file"));
        let mut written = File::create(&path).unwrap();
        written.write_all(&vec![1; length]).unwrap();
        written.sync_all().unwrap();
        let file = Directory::new(dir.path().to_owned()).open("file").unwrap().unwrap();
        // Of what this reads, the system reads nothing ahead.
        let reader = File::open(&path).unwrap();
        fadvise(&reader, 0, None, Advice::Random).unwrap();
        let have_all_but = |hole: Range<usize>| {
            fadvise(&reader, 0, None, Advice::DontNeed).unwrap();
            for part in [0..hole.start, hole.end..length] {
                reader.read_exact_at(&mut vec![0; part.len()], part.start as u64).unwrap();
            }
        };
        let part = 0..1_024 * KIB as u64;
        have_all_but(0..0);
        assert!(file.is_loaded(&part));
        for (from, to) in [(0, 4), (64, 128), (500, 600), (1_020, 1_024), (2_044, 2_048)] {
            have_all_but(from * KIB..to * KIB);
            assert!(!file.is_loaded(&part), "without {from} to {to} KiB");
        }
        have_all_but(0..length);
        file.load(&part).unwrap();
        let page = 4 * KIB as u64;
        assert!((0..256).all(|at| file.is_loaded(&(at * page..at * page + 1))), "it does not wait for all of it");
    }
}
