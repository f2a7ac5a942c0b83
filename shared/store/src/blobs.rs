//! Large values as content-addressed, write-once files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Result, files,
    staged::{BlobDigest, Staged},
};

/// From this many files on, one `syncfs` is cheaper than an fsync for each.
const SYNCFS_FILES_MIN: usize = 24;

/// Where a large value comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// From memory.
    Value(&'a [u8]),
    /// It is a file already.
    Staged(&'a Staged),
}

impl Source<'_> {
    /// Bytes that are to be written.
    pub(crate) fn memory_bytes(self) -> u64 {
        match self {
            Self::Value(bytes) => bytes.len() as u64,
            Self::Staged(_) => 0,
        }
    }
}

/// The directory of large values, and how many rows refer to each.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
    references: HashMap<BlobDigest, u32>,
}

impl Blobs {
    /// Knows no references yet: call [`Blobs::refer`] for each row, then [`Blobs::sweep`].
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        files::create_dir(&dir)?;
        Ok(Self { dir, references: HashMap::new() })
    }

    fn path(&self, digest: &BlobDigest) -> PathBuf {
        path(&self.dir, digest)
    }

    pub(crate) fn holds(&self, digest: &BlobDigest) -> bool {
        self.references.contains_key(digest)
    }

    /// Counts one more row that refers to the value.
    pub(crate) fn refer(&mut self, digest: BlobDigest) {
        *self.references.entry(digest).or_insert(0) += 1;
    }

    /// Counts one row less.
    pub(crate) fn release(&mut self, digest: &BlobDigest) {
        if let Some(count) = self.references.get_mut(digest) {
            *count = count.saturating_sub(1);
        }
    }

    /// Those of `candidates` that no row refers to.
    pub(crate) fn unused(&mut self, mut candidates: Vec<BlobDigest>) -> Vec<BlobDigest> {
        candidates.retain(|digest| {
            let unused = self.references.get(digest) == Some(&0);
            if unused {
                self.references.remove(digest);
            }
            unused
        });
        candidates
    }

    /// Deletes the file of a value that no row refers to. What can't be deleted is left to the sweep of the next start.
    pub(crate) fn delete(&self, digest: &BlobDigest) {
        let path = self.path(digest);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "unused file of the store not deleted");
        }
    }

    /// Makes values durable under their names. On an error the files may be there, without a row that refers to them.
    pub(crate) fn write(&self, values: &BTreeMap<BlobDigest, Source<'_>>) -> io::Result<()> {
        let few = values.len() < SYNCFS_FILES_MIN;
        let plain = |error: Error| match error {
            Error::Io { source, .. } => io::Error::new(source.kind(), source),
            other => io::Error::other(other),
        };
        let mut written = Vec::with_capacity(values.len());
        for (digest, source) in values {
            let staged = match *source {
                Source::Value(bytes) => Staged::at_once(&self.dir, *digest, bytes)?,
                Source::Staged(staged) => staged.clone(),
            };
            if few {
                staged.sync(&self.path(digest))?;
            }
            written.push((staged, self.path(digest)));
        }
        let parents: BTreeSet<&Path> = written.iter().filter_map(|(_, path)| path.parent()).collect();
        let mut created = false;
        for parent in &parents {
            match fs::create_dir(parent) {
                Ok(()) => created = true,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        for (staged, path) in &written {
            staged.rename(path)?;
        }
        if !few {
            // Half a file under its name does no harm before a row refers to it: the next start deletes it.
            return files::sync_file_system(&self.dir).map_err(plain);
        }
        parents.iter().try_for_each(|parent| files::sync_dir(parent)).map_err(plain)?;
        if created { files::sync_dir(&self.dir).map_err(plain) } else { Ok(()) }
    }

    /// Deletes what no row refers to: left by a crash between file and row, or row and file.
    pub(crate) fn sweep(&mut self) -> Result<()> {
        let mut found = 0;
        for entry in files::entries(&self.dir)? {
            let children = if entry.is_dir() { files::entries(&entry)? } else { vec![entry] };
            for path in children {
                let digest = path.file_name().and_then(|name| name.to_str()).and_then(|name| hex::decode(name).ok());
                let digest = digest.and_then(|digest| BlobDigest::try_from(digest).ok());
                match digest.filter(|digest| self.references.contains_key(digest)) {
                    Some(_) => found += 1,
                    None => fs::remove_file(&path).map_err(|e| Error::io("delete", &path, e))?,
                }
            }
        }
        if found < self.references.len() {
            let missing = self.references.keys().map(|digest| self.path(digest)).find(|path| !path.exists());
            let missing = missing.unwrap_or_default();
            let state_dir = self.dir.parent().unwrap_or(&self.dir);
            return Err(Error::corrupt(state_dir, format!("file {} is missing", missing.display())));
        }
        Ok(())
    }
}

/// Where the large values of a state directory are.
pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("blobs")
}

/// Reads a value from the directory of large values; `Err` with a reason if it is not what was written.
pub(crate) fn read(dir: &Path, digest: &BlobDigest) -> std::result::Result<Vec<u8>, String> {
    let path = path(dir, digest);
    let bytes = files::read(&path).map_err(|e| format!("can't read {}: {e}", path.display()))?;
    if Sha256::digest(&bytes).as_slice() != digest {
        return Err(format!("content of {} does not match its name", path.display()));
    }
    Ok(bytes)
}

fn path(dir: &Path, digest: &BlobDigest) -> PathBuf {
    let name = hex::encode(digest);
    dir.join(&name[..2]).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As where a commit is refused after its files have their names, and made again.
    #[test]
    fn what_was_written_ahead_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let digest = BlobDigest::from(Sha256::digest(b"value"));
        for count in [1, SYNCFS_FILES_MIN] {
            let staged = Staged::ahead(&blobs.dir, digest, b"value").unwrap();
            let others = (1..count as u8).map(|number| ([number; 32], Source::Value(b"other")));
            let values = others.chain([(digest, Source::Staged(&staged))]).collect();
            blobs.write(&values).unwrap();
            blobs.write(&values).unwrap();
            assert_eq!(read(&blobs.dir, &digest).unwrap(), b"value");
            fs::remove_file(blobs.path(&digest)).unwrap();
            assert!(blobs.write(&values).is_err(), "no row may name a file that is gone");
        }
    }
}
