//! A batch of more rows than sled takes well at once: it is written down as a whole, which is what makes it durable,
//! and then applied in portions. A crash in between leaves the file, and the next start applies all of it again, so the
//! cost is that of the batch, however many rows there are beside it.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use crate::{
    Error, Result, files,
    generation::SUM_KEY,
    head::Sum,
    record::{self, Record},
    rows::{Change, Outcome, Rows},
};

/// Rows applied at once: sled keeps some KiB of memory for each until all of them are.
const PORTION_ROWS: usize = 1024;

/// Makes the batch durable; `NoSpace` and other errors before that left nothing of it.
pub(crate) fn write(dir: &Path, changes: &[Change], sum: &Sum) -> io::Result<()> {
    let temporary = path(dir).with_extension("new");
    let written = File::create(&temporary).and_then(|file| {
        record::write(BufWriter::new(&file), sum, std::iter::empty(), changes)?;
        file.sync_all()
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
    let bytes = match files::read(&path(dir)) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", &path(dir), e)),
    };
    let corrupt = |reason: String| Error::corrupt(dir, reason);
    let Record { sum, changes, .. } =
        record::decode(&bytes).ok_or_else(|| corrupt(format!("{} is damaged", path(dir).display())))?;
    if sum.commit > commit {
        let applied = apply(rows, changes, &sum).map_err(io::Error::other);
        applied.map_err(|error| Error::io("apply to the rows", &path(dir), error))?;
    }
    remove(dir)
}

fn path(dir: &Path) -> PathBuf {
    dir.join("pending")
}
