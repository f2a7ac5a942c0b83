//! Files of a state directory that are worked on, not remembered: they have no name, so nothing is left of them when
//! the process ends, however it does.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Options,
    error::{Error, Result},
    files::{self, check_space},
};

/// An unnamed file that only grows, and leaves the floor of free space to the state beside it.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    file: File,
    bytes: u64,
}

impl Scratch {
    /// An empty one in `dir`, which will take `bytes`.
    ///
    /// # Errors
    /// `NoSpace` where so much does not fit beside the floor; `Io`.
    pub fn create(dir: &Path, bytes: u64) -> Result<Self> {
        check_space(dir, Options::FREE_BYTES_MIN, bytes)?;
        let file = tempfile::tempfile_in(dir).map_err(|error| Error::io("create a file in", dir, error))?;
        Ok(Self { dir: dir.to_owned(), file, bytes: 0 })
    }

    /// Bytes in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds at its end; best in large pieces.
    ///
    /// # Errors
    /// `NoSpace`, `Io`; then it is of no more use.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        files::append(&mut self.file, &self.dir, Options::FREE_BYTES_MIN, bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Reads what stands at `start`; several threads may at once.
    ///
    /// # Errors
    /// `Io`, also where there is not so much.
    pub fn read(&self, start: u64, into: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(into, start).map_err(|error| Error::io("read a file of", &self.dir, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::create(dir.path(), 6).unwrap();
        scratch.append(b"abc").unwrap();
        scratch.append(b"def").unwrap();
        let mut read = [0; 4];
        scratch.read(2, &mut read).unwrap();
        assert_eq!((&read, scratch.bytes()), (b"cdef", 6));
        assert!(scratch.read(3, &mut read).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a crash would leave it");
    }

    #[test]
    fn what_does_not_fit_beside_the_floor_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Scratch::create(dir.path(), u64::MAX / 2);
        assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
    }
}
