//! Files of values to which nothing refers any more, kept empty for values to come.
//!
//! ext4 gives the inode of a deleted file to no other for minutes, and passes by each such inode whenever it creates a
//! file. Where every commit deletes as many files as it creates, that soon takes longer than all else.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Files kept at most; what comes beyond is deleted.
const SPARES_MAX: usize = 4_096;

/// Those of one directory. The next start deletes what is left of them.
#[derive(Debug)]
pub(crate) struct Spares {
    dir: PathBuf,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// Of all that were ever kept: no name is given twice.
    kept: u64,
    paths: Vec<PathBuf>,
}

impl Spares {
    /// None yet.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, free: Mutex::default() }
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes a file away from its path, and its bytes from the disk.
    pub(crate) fn keep(&self, path: &Path) -> io::Result<()> {
        let Some(spare) = self.next_path() else { return fs::remove_file(path) };
        fs::rename(path, &spare)?;
        if let Err(error) = OpenOptions::new().write(true).truncate(true).open(&spare) {
            fs::remove_file(&spare)?;
            return Err(error);
        }
        self.lock().paths.push(spare);
        Ok(())
    }

    /// Puts an empty file at `path`, where there is one to spare.
    pub(crate) fn give(&self, path: &Path) {
        let spare = self.lock().paths.pop();
        if let Some(spare) = spare
            && let Err(error) = fs::rename(&spare, path)
        {
            // Then a file is created.
            tracing::debug!(spare = %spare.display(), %error, "a spare file of the store could not be used");
        }
    }

    fn next_path(&self) -> Option<PathBuf> {
        let mut free = self.lock();
        if free.paths.len() >= SPARES_MAX {
            return None;
        }
        free.kept += 1;
        Some(self.dir.join(format!("{}.spare", free.kept)))
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// The same file under another name, without a byte of what was in it; what is too much is deleted.
    #[test]
    fn what_is_kept_is_empty_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::new(dir.path().to_owned());
        let path = |name: &str| dir.path().join(name);
        let inode = |name: &str| fs::metadata(path(name)).unwrap().ino();
        fs::write(path("a"), "some bytes").unwrap();
        let a = inode("a");
        spares.keep(&path("a")).unwrap();
        assert!(!path("a").exists());
        spares.give(&path("b"));
        assert_eq!((inode("b"), fs::read(path("b")).unwrap().len()), (a, 0));
        spares.give(&path("c"));
        assert!(!path("c").exists(), "nothing was left");
        for _ in 0..=SPARES_MAX {
            fs::write(path("a"), "").unwrap();
            spares.keep(&path("a")).unwrap();
        }
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1 + SPARES_MAX);
    }
}
