//! One directory of published files, one coordinator.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    path::Path,
};

use crate::{Error, Result, error::Action};

/// Held by the coordinator that publishes: two of them, each with a state of its own, would use up each other's
/// versions.
const LOCK_FILE: &str = ".coordinator";

/// Longest word on who holds the lock that is repeated, in bytes.
const HOLDER_BYTES_MAX: u64 = 4_096;

/// Takes the directory for this process, until the answer is dropped.
///
/// # Errors
/// [`Error::PublishedInUse`], [`Error::Publish`].
pub(super) fn take(dir: &Path, owner: &str) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.map_err(Error::publish(Action::Open, &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who it is only helps: what is not text is not repeated.
            let _ = file.take(HOLDER_BYTES_MAX).read_to_string(&mut holder);
            return Err(Error::PublishedInUse { dir: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(Error::publish(Action::Lock, &path)(error)),
    }
    let written = file.set_len(0).and_then(|()| file.write_all(owner.as_bytes()));
    written.map_err(Error::publish(Action::Write, &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::fs;

    use super::*;
    use crate::publisher::DirectoryPublisher;

    /// The second coordinator changes nothing, and is told of the first; what that one leaves is free.
    #[test]
    fn has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryPublisher::open(dir.path(), "process 1").unwrap();
        let half = dir.path().join("metadata/.writing-1.bins-0.json");
        fs::write(&half, b"half").unwrap();
        match DirectoryPublisher::open(dir.path(), "process 2").map(|_| ()) {
            Err(Error::PublishedInUse { holder, .. }) => assert_eq!(holder, "process 1"),
            other => panic!("{other:?}"),
        }
        assert!(half.exists(), "the first is writing it");
        drop(first);
        DirectoryPublisher::open(dir.path(), "process 2").unwrap();
        assert!(!half.exists());
    }
}
