//! The directory from which a mirror serves artifacts: each file under its SHA-256.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rstuf_tuf::{Change, Sha256};
use sha2::Digest as _;

use crate::{collect::Found, error::Error};

/// Bytes copied at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Reads it on the command line: it must exist, so that a slip makes no directory that nobody serves.
pub(crate) fn directory(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let allowed = "allowed: the directory that a mirror's artifacts_dir names";
    match fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(format!("it is no directory, {allowed}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("there is no such directory, {allowed}")),
        Err(error) => Err(format!("{error}, {allowed}")),
    }
}

/// Copies the files of which `changes` were made, in their order, to where a mirror finds them; answers how many were
/// not there yet. All of them are on disk when this returns.
///
/// # Errors
/// Where the directory can't be written, a file changed since it was hashed, or another one has its name
/// in the directory.
pub(crate) async fn copy(files: Vec<Found>, changes: &[Change], directory: &Path) -> Result<usize, Error> {
    let digests: Vec<_> = changes.iter().filter_map(sha256).collect();
    let directory = directory.to_owned();
    let copied = tokio::task::spawn_blocking(move || copy_all(&files, &digests, &directory));
    copied.await.map_err(|error| Error::failed(format!("copying failed: {error}")))?
}

fn sha256(change: &Change) -> Option<Sha256> {
    match change {
        Change::Add { target, .. } => Some(target.hashes().as_sha256()),
        Change::Remove { .. } => None,
    }
}

fn copy_all(files: &[Found], digests: &[Sha256], directory: &Path) -> Result<usize, Error> {
    let mut copied = 0;
    for (file, digest) in files.iter().zip(digests) {
        copied += usize::from(copy_one(&file.source, directory, *digest)?);
    }
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::failed(format!("{} cannot be written: {error}", directory.display())))?;
    Ok(copied)
}

/// Whether the file was not there yet.
fn copy_one(source: &Path, directory: &Path, digest: Sha256) -> Result<bool, Error> {
    let target = directory.join(digest.to_string());
    if target.exists() {
        return check(&target, digest).map(|()| false);
    }
    // A name of its own for each attempt: two that copy the same file at once must not write into one.
    let temporary = directory.join(format!("{digest}.{}.incoming", uuid::Uuid::new_v4()));
    let copied = write(source, &temporary, digest).and_then(|()| {
        fs::rename(&temporary, &target)
            .map_err(|error| Error::failed(format!("{} cannot be made: {error}", target.display())))
    });
    if copied.is_err() {
        // It may not have been made at all; why the copy failed is what counts.
        let _ = fs::remove_file(&temporary);
    }
    copied.map(|()| true)
}

fn check(target: &Path, digest: Sha256) -> Result<(), Error> {
    let read = File::open(target).and_then(|mut file| pump(&mut file, &mut io::sink()));
    let found = read.map_err(|error| Error::failed(format!("{} cannot be read: {error}", target.display())))?;
    if found == digest {
        return Ok(());
    }
    let message = format!("{} exists, and does not hold what its name says", target.display());
    Err(Error::failed(message).next("move it away: a mirror can't serve it"))
}

fn write(source: &Path, temporary: &PathBuf, digest: Sha256) -> Result<(), Error> {
    let copied = || -> io::Result<Sha256> {
        let mut from = File::open(source)?;
        let mut to = OpenOptions::new().write(true).create_new(true).open(temporary)?;
        let found = pump(&mut from, &mut to)?;
        to.sync_all()?;
        Ok(found)
    };
    let found = copied().map_err(|error| Error::failed(format!("{} cannot be copied: {error}", source.display())))?;
    if found == digest {
        return Ok(());
    }
    let message = format!("{} changed while it was being copied", source.display());
    Err(Error::failed(message).next("start again when whoever writes it is done"))
}

/// Copies everything, and answers its digest.
fn pump(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(Sha256(hasher.finalize().into())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        hasher.update(chunk);
        to.write_all(chunk)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_stands_there_whole_under_its_digest_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "text").unwrap();
        let target = dir.path().join("served");
        fs::create_dir(&target).unwrap();
        let digest = Sha256::of(b"text");
        assert!(copy_one(&source, &target, Sha256::of(b"other")).unwrap_err().message.contains("changed"));
        assert!(names(&target).is_empty(), "a failed copy leaves nothing");
        assert!(copy_one(&source, &target, digest).unwrap());
        assert_eq!(names(&target), [digest.to_string()]);
        assert!(!copy_one(&source, &target, digest).unwrap(), "it is there already");
    }

    #[test]
    fn what_stands_under_the_name_of_another_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "text").unwrap();
        let target = dir.path().join(Sha256::of(b"text").to_string());
        fs::write(&target, "damaged").unwrap();
        let refused = copy_one(&source, dir.path(), Sha256::of(b"text")).unwrap_err();
        assert!(refused.message.contains("does not hold what its name says"), "{refused}");
        assert_eq!(fs::read(&target).unwrap(), b"damaged");
    }
}
