//! Files of a state directory that are written once and then only read, for what is too much to be a row. Their owner
//! keeps a row for each: the file is durable before the row, and goes after it, so a crash leaves at most a file that
//! no row names.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Options,
    error::{Error, Result},
    files,
};

/// A file that is being written, under another name. Dropped before it is sealed, it is deleted.
#[derive(Debug)]
pub struct NewFile {
    folder: PathBuf,
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    bytes: u64,
}

/// A file that never changes again.
#[derive(Debug)]
pub struct SealedFile {
    path: PathBuf,
    file: File,
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("sealed")
}

/// The names of all sealed files; those that were not sealed are deleted.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in files::entries(&folder(dir))? {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if path.extension().is_none() => names.push(name.to_owned()),
            _ => fs::remove_file(&path).map_err(|error| Error::io("delete", &path, error))?,
        }
    }
    Ok(names)
}

/// Deletes one, if it is there. Whoever has it open may go on reading.
pub(crate) fn remove(dir: &Path, name: &str) -> Result<()> {
    files::remove(&folder(dir).join(name))
}

impl NewFile {
    pub(crate) fn create(dir: &Path, name: &str) -> Result<Self> {
        let folder = folder(dir);
        files::create_dir(&folder)?;
        let path = folder.join(name);
        let temporary = path.with_extension("new");
        let file = File::create(&temporary).map_err(|error| Error::io("create", &temporary, error))?;
        Ok(Self { folder, path, temporary, file, bytes: 0 })
    }

    /// Bytes in it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds at its end; best in large pieces.
    ///
    /// # Errors
    /// `NoSpace` where so much does not fit beside the floor; `Io`. Then it is of no more use.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        files::append(&mut self.file, &self.folder, Options::FREE_BYTES_MIN, bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes it durable under its name.
    ///
    /// # Errors
    /// `Io`.
    pub fn seal(self) -> Result<SealedFile> {
        self.file.sync_all().map_err(|error| Error::io("fsync", &self.temporary, error))?;
        fs::rename(&self.temporary, &self.path).map_err(|error| Error::io("rename", &self.temporary, error))?;
        files::sync_dir(&self.folder)?;
        SealedFile::open_path(self.path.clone())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Once it is sealed there is nothing under this name; what is left is deleted by the next start.
        drop(fs::remove_file(&self.temporary));
    }
}

impl SealedFile {
    pub(crate) fn open(dir: &Path, name: &str) -> Result<Self> {
        Self::open_path(folder(dir).join(name))
    }

    fn open_path(path: PathBuf) -> Result<Self> {
        let file =
            files::open(&path, OpenOptions::new().read(true)).map_err(|error| Error::io("open", &path, error))?;
        Ok(Self { path, file })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what stands at `start`; several threads may at once. Whether it is what was written is the caller's to
    /// check.
    ///
    /// # Errors
    /// `Io`, also where there is not so much.
    pub fn read(&self, start: u64, into: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(into, start).map_err(|error| Error::io("read", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_there_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut given_up = NewFile::create(dir.path(), "a").unwrap();
        given_up.append(b"half").unwrap();
        drop(given_up);
        assert_eq!(fs::read_dir(folder(dir.path())).unwrap().count(), 0);
        let mut file = NewFile::create(dir.path(), "b").unwrap();
        file.append(b"abc").unwrap();
        file.append(b"def").unwrap();
        let sealed = file.seal().unwrap();
        fs::write(folder(dir.path()).join("c.new"), "left by a crash").unwrap();
        assert_eq!(list(dir.path()).unwrap(), ["b"]);
        assert_eq!(fs::read_dir(folder(dir.path())).unwrap().count(), 1);

        remove(dir.path(), "b").unwrap();
        remove(dir.path(), "b").unwrap();
        let mut read = [0; 4];
        sealed.read(2, &mut read).unwrap();
        assert_eq!(&read, b"cdef");
        assert!(sealed.read(3, &mut read).is_err());
        assert!(SealedFile::open(dir.path(), "b").is_err());
    }
}
