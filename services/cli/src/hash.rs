//! Hashing files, several at once.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use blake2::{Blake2b, digest::consts::U32};
use indicatif::ProgressBar;
use rstuf_tuf::{Change, Custom, HashAlgorithm, Hashes, Sha256, Target};
use sha2::{Digest as _, Sha512};

use crate::{collect::Found, error::Error};

/// Files hashed at the same time, at most: beyond a few, the disk is what bounds it.
const WORKERS_MAX: usize = 8;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// What to compute, and what to say of every artifact besides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recipe {
    /// SHA-512 too.
    pub sha512: bool,
    /// BLAKE2b-256 too.
    pub blake2b_256: bool,
    /// What clients see as `custom`.
    pub(crate) custom: Option<Custom>,
}

impl Recipe {
    /// SHA-256, and `algorithms` besides.
    #[must_use]
    pub(crate) fn new(algorithms: &[HashAlgorithm], custom: Option<Custom>) -> Self {
        Self {
            sha512: algorithms.contains(&HashAlgorithm::Sha512),
            blake2b_256: algorithms.contains(&HashAlgorithm::Blake2b256),
            custom,
        }
    }
}

/// Makes the addition of every file, in their order.
///
/// # Errors
/// The first file that can't be read, or that changed while it was read.
pub(crate) async fn additions(files: Vec<Found>, recipe: Recipe, bar: &ProgressBar) -> Result<Vec<Change>, Error> {
    let count = files.len();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX).min(count.max(1));
    let work = Arc::new(Work { files, recipe, next: AtomicUsize::new(0), failed: AtomicBool::new(false) });
    let running: Vec<_> = (0..workers)
        .map(|_| {
            let (work, bar) = (Arc::clone(&work), bar.clone());
            tokio::task::spawn_blocking(move || work.take_part(&bar))
        })
        .collect();
    let mut done = Vec::with_capacity(count);
    let mut failure = None;
    for worker in running {
        match worker.await {
            Ok(Ok(part)) => done.extend(part),
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(error) => failure = failure.or(Some(Error::failed(format!("hashing failed: {error}")))),
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, change)| change).collect())
}

struct Work {
    files: Vec<Found>,
    recipe: Recipe,
    next: AtomicUsize,
    failed: AtomicBool,
}

impl Work {
    /// Takes one file after the other until there is none left, or another worker failed.
    fn take_part(&self, bar: &ProgressBar) -> Result<Vec<(usize, Change)>, Error> {
        let mut part = Vec::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        while !self.failed.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = self.files.get(at) else { break };
            match addition(file, &self.recipe, &mut buffer, bar) {
                Ok(change) => part.push((at, change)),
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(part)
    }
}

fn addition(file: &Found, recipe: &Recipe, buffer: &mut [u8], bar: &ProgressBar) -> Result<Change, Error> {
    let unreadable = |error: io::Error| Error::failed(format!("{} cannot be read: {error}", file.source.display()));
    let (length, hashes) =
        hash(&file.source, recipe, buffer, |bytes| bar.inc(bytes)).map_err(unreadable)?.ok_or_else(|| {
            let message = format!("{} changed while it was being hashed", file.source.display());
            Error::failed(message).next("add it when whoever writes it is done")
        })?;
    let target = Target::new(length, hashes, recipe.custom.clone());
    let target = target.map_err(|error| Error::failed(format!("{}: {error}", file.source.display())))?;
    Ok(Change::Add { path: file.path.clone(), target })
}

/// Length and digests of a file; none if it changed meanwhile.
fn hash(
    path: &Path,
    recipe: &Recipe,
    buffer: &mut [u8],
    mut progress: impl FnMut(u64),
) -> io::Result<Option<(u64, Hashes)>> {
    let mut file = File::open(path)?;
    let before = file.metadata()?;
    let mut sha256 = sha2::Sha256::new();
    let mut sha512 = recipe.sha512.then(Sha512::new);
    let mut blake2b = recipe.blake2b_256.then(Blake2b::<U32>::new);
    let mut length = 0;
    loop {
        let count = match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let chunk = buffer.get(..count).unwrap_or_default();
        sha256.update(chunk);
        if let Some(hasher) = &mut sha512 {
            hasher.update(chunk);
        }
        if let Some(hasher) = &mut blake2b {
            hasher.update(chunk);
        }
        length += count as u64;
        progress(count as u64);
    }
    let stayed = length == before.len() && same(&before, &file.metadata()?) && same(&before, &std::fs::metadata(path)?);
    let mut hashes = Hashes::sha256(Sha256(sha256.finalize().into()));
    let others = [
        (HashAlgorithm::Sha512, sha512.map(|hasher| hasher.finalize().to_vec())),
        (HashAlgorithm::Blake2b256, blake2b.map(|hasher| hasher.finalize().to_vec())),
    ];
    for (algorithm, digest) in others {
        if let Some(digest) = digest {
            hashes = hashes.with(algorithm, &digest).map_err(io::Error::other)?;
        }
    }
    Ok(stayed.then_some((length, hashes)))
}

/// Whether two looks saw the same file in the same state.
fn same(before: &Metadata, after: &Metadata) -> bool {
    let facts = |it: &Metadata| (it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec());
    facts(before) == facts(after)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn files_are_hashed_in_their_order_with_every_algorithm_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..50)
            .map(|at| {
                let source = dir.path().join(format!("{at}"));
                fs::write(&source, if at == 7 { "abc".repeat(200_000) } else { format!("{at}") }).unwrap();
                Found { source, path: format!("p/{at}").parse().unwrap(), length: 0 }
            })
            .collect();
        let bar = ProgressBar::hidden();
        let all = [HashAlgorithm::Sha512, HashAlgorithm::Blake2b256];
        let changes = additions(files.clone(), Recipe::new(&all, None), &bar).await.unwrap();
        let paths: Vec<_> = changes.iter().map(|change| change.path().to_string()).collect();
        assert_eq!(paths, files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>());
        let Change::Add { target, .. } = &changes[0] else { panic!("an addition") };
        // As `printf 0 | sha256sum`, `sha512sum` and `b2sum -l 256` say.
        let digests: Vec<_> = target.hashes().iter().map(|(name, digest)| (name.to_owned(), digest)).collect();
        let expected = [
            ("sha256", "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"),
            ("blake2b-256", "0fd923ca5e7218c4ba3c3801c26a617ecdbfdaebb9c76ce2eca166e7855efbb8"),
            (
                "sha512",
                "31bca02094eb78126a517b206a88c73cfa9ec6f704c7030d18212cace820f025\
                 f00bf0ea68dbf3f3a5436ca63b53bf7bf80ad8d5de7d8359d0b7fed9dbc3ab99",
            ),
        ];
        assert_eq!(digests, expected.map(|(name, digest)| (name.to_owned(), digest.to_owned())));
        let Change::Add { target, .. } = &changes[7] else { panic!("an addition") };
        assert_eq!(target.length(), 600_000);
        assert_eq!(bar.position(), 600_000 + files.len() as u64 - 1 + 40);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_named() {
        let found = Found { source: "/nowhere/x".into(), path: "x".parse().unwrap(), length: 1 };
        let error = additions(vec![found], Recipe::default(), &ProgressBar::hidden()).await.unwrap_err();
        assert!(error.message.contains("/nowhere/x"), "{error}");
    }

    #[test]
    fn a_file_that_grows_or_is_replaced_while_it_is_read_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut buffer = [0; 16];
        fs::write(&path, "line").unwrap();
        assert!(hash(&path, &Recipe::default(), &mut buffer, |_| ()).unwrap().is_some());
        let grow = |_| fs::write(&path, "line, and more").unwrap();
        assert!(hash(&path, &Recipe::default(), &mut buffer, grow).unwrap().is_none());
        let replace = |_| {
            fs::write(dir.path().join("new"), "other").unwrap();
            fs::rename(dir.path().join("new"), &path).unwrap();
        };
        fs::write(&path, "line").unwrap();
        assert!(hash(&path, &Recipe::default(), &mut buffer, replace).unwrap().is_none());
    }
}
