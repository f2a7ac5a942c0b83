//! Large values as content-addressed, write-once files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result, files, row::BlobDigest};

/// From this many files on, one `syncfs` is cheaper than an fsync for each.
const SYNCFS_FILES_MIN: usize = 24;

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
    pub(crate) fn write(&self, values: &BTreeMap<BlobDigest, &[u8]>) -> io::Result<()> {
        let few = values.len() < SYNCFS_FILES_MIN;
        let plain = |error: Error| match error {
            Error::Io { source, .. } => io::Error::new(source.kind(), source),
            other => io::Error::other(other),
        };
        let mut written = Vec::with_capacity(values.len());
        for (digest, bytes) in values {
            let temporary = self.dir.join(format!("{}.new", hex::encode(digest)));
            let result = files::write(&temporary, bytes).and_then(|file| if few { file.sync_all() } else { Ok(()) });
            written.push((temporary, self.path(digest)));
            if let Err(error) = result {
                written.iter().for_each(|(temporary, _)| drop(fs::remove_file(temporary)));
                return Err(error);
            }
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
        for (temporary, path) in &written {
            fs::rename(temporary, path)?;
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

/// Reads a value from the directory of large values; `Err` with a reason if it is not what was written.
pub(crate) fn read(dir: &Path, digest: &BlobDigest) -> std::result::Result<Vec<u8>, String> {
    let path = path(dir, digest);
    let bytes = fs::read(&path).map_err(|e| format!("can't read {}: {e}", path.display()))?;
    if Sha256::digest(&bytes).as_slice() != digest {
        return Err(format!("content of {} does not match its name", path.display()));
    }
    Ok(bytes)
}

fn path(dir: &Path, digest: &BlobDigest) -> PathBuf {
    let name = hex::encode(digest);
    dir.join(&name[..2]).join(name)
}
