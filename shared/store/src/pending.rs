//! A batch of more rows than sled takes well at once: it is written down as a whole, which is what makes it durable,
//! and then applied in portions. A crash in between leaves the file, and the next start applies all of it again, so the
//! cost is that of the batch, however many rows there are beside it.
//!
//! ```text
//! sum of all rows afterwards | rows: length and key, length and content (none where it is removed) | SHA-256 of that
//! ```

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Result, files,
    generation::SUM_KEY,
    head::Sum,
    rows::{Change, Outcome, Rows},
};

/// Rows applied at once: sled keeps some KiB of memory for each until all of them are.
const PORTION_ROWS: usize = 1024;
/// Length of a row that is removed.
const REMOVED: u32 = u32::MAX;
const DIGEST_BYTES: usize = 32;

/// Makes the batch durable; `NoSpace` and other errors before that left nothing of it.
pub(crate) fn write(dir: &Path, changes: &[Change], sum: &Sum) -> io::Result<()> {
    let temporary = path(dir).with_extension("new");
    let written = File::create(&temporary).and_then(|file| {
        let mut digested = Digested { file: BufWriter::new(file), hash: Sha256::new() };
        digested.write_all(&sum.encode())?;
        for (key, row) in changes {
            let length = row.as_ref().map_or(Ok(REMOVED), |row| u32::try_from(row.len()));
            digested.write_all(&u32::try_from(key.len()).map_err(io::Error::other)?.to_le_bytes())?;
            digested.write_all(key)?;
            digested.write_all(&length.map_err(io::Error::other)?.to_le_bytes())?;
            digested.write_all(row.as_deref().unwrap_or_default())?;
        }
        let Digested { mut file, hash } = digested;
        file.write_all(&hash.finalize())?;
        file.into_inner()?.sync_all()
    });
    if let Err(error) = written {
        // What is left is overwritten by the next one.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    fs::rename(&temporary, path(dir))
}

/// Applies the batch that is written down: rows first, what they add up to last.
pub(crate) fn apply(rows: &Rows, changes: Vec<Change>, sum: &Sum) -> Outcome<()> {
    let mut changes = changes.into_iter().peekable();
    while changes.peek().is_some() {
        rows.apply(changes.by_ref().take(PORTION_ROWS).collect())?;
    }
    rows.commit(vec![(SUM_KEY.to_vec(), Some(sum.encode().to_vec()))])
}

/// Forgets the batch, once the rows are durable. What is left, or comes back after a power cut, is told by its number.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    files::remove(&path(dir))
}

/// At a start: applies again what a crash may have cut short. `commit` is the number of the last commit that counts.
pub(crate) fn recover(dir: &Path, rows: &Rows, commit: u64) -> Result<()> {
    let bytes = match fs::read(path(dir)) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", &path(dir), e)),
    };
    let corrupt = |reason: String| Error::corrupt(dir, reason);
    let (changes, sum) = decode(&bytes).ok_or_else(|| corrupt(format!("{} is damaged", path(dir).display())))?;
    if sum.commit > commit {
        apply(rows, changes, &sum).map_err(corrupt)?;
    }
    remove(dir)
}

fn decode(bytes: &[u8]) -> Option<(Vec<Change>, Sum)> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let (sum, mut rest) = body.split_at_checked(Sum::BYTES)?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let length = length(&mut rest)?;
        let key = take(&mut rest, length)?.to_vec();
        let row = match self::length(&mut rest)? {
            REMOVED => None,
            length => Some(take(&mut rest, length)?.to_vec()),
        };
        changes.push((key, row));
    }
    Some((changes, Sum::decode(sum)?))
}

fn length(rest: &mut &[u8]) -> Option<u32> {
    take(rest, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn take<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

fn path(dir: &Path) -> PathBuf {
    dir.join("pending")
}

struct Digested {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
