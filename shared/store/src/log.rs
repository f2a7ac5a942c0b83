//! The last commits, one behind the other, until they stand in the rows. To add one takes one write and one fsync into
//! a file whose length never changes.
//!
//! ```text
//! file:   header | the same header again | commits
//! header: mark, id and their SHA-256, up to the end of a page
//! commit: copy | the same copy again
//! copy:   mark, id, length and record, up to the end of a page
//! ```
//!
//! The id is random, and nobody outside learns it: what callers have committed may stand at the beginning of a page,
//! and must not pass for a copy. A record counts while its number follows that of the last commit in the rows, so what
//! is left of earlier rounds means nothing. Each stands there twice, in different pages: a commit that was acknowledged
//! survives damage to either, and one of which neither is whole was cut short before it was acknowledged.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::{fs::FallocateFlags, io::Errno};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result, files,
    head::Sum,
    record::{self, Record},
    rows::Change,
};

const PAGE_BYTES: usize = 4096;
/// Where commits begin.
const BEGIN: usize = 2 * PAGE_BYTES;
const FILE_MARK: &[u8; 8] = b"log\n\0\0\0\0";
const COPY_MARK: &[u8; 8] = b"commit\n\0";
const ID_BYTES: usize = 16;
/// What stands before a record.
const COPY_HEADER_BYTES: usize = COPY_MARK.len() + ID_BYTES + 8;
/// What the system gives random bytes by.
const RANDOM: &str = "/dev/urandom";

type Id = [u8; ID_BYTES];

/// The file of the last commits.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    id: Id,
    length: usize,
    /// Where the next record begins.
    end: usize,
}

impl Log {
    /// Creates an empty one of so many bytes, or puts it in the place of one that is there. Its space on the disk is
    /// taken now, so that no commit finds none.
    pub(crate) fn create(dir: &Path, length: usize) -> Result<()> {
        let mut id = Id::default();
        let random = File::open(RANDOM).and_then(|mut random| random.read_exact(&mut id));
        random.map_err(|e| Error::io("read", Path::new(RANDOM), e))?;
        files::replace_with(&path(dir), |file| {
            file.set_len(length as u64)?;
            let header = header(&id);
            file.write_all_at(&header, 0)?;
            file.write_all_at(&header, PAGE_BYTES as u64)?;
            match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, length as u64) {
                // Some file systems take space only for what is written.
                Err(Errno::NOTSUP | Errno::NOSYS) => Ok(()),
                allocated => Ok(allocated?),
            }
        })
    }

    /// Opens the file, and reads the commits behind `commit`.
    pub(crate) fn open(dir: &Path, commit: u64) -> Result<(Self, Vec<Record>)> {
        let path = path(dir);
        let file =
            files::open(&path, OpenOptions::new().read(true).write(true)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::corrupt(dir, "there is no log"),
                _ => Error::io("open", &path, error),
            })?;
        let bytes = files::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let read = named(&bytes).and_then(|id| Ok((id, read(&bytes, &id, commit)?)));
        let (id, records) = read.map_err(|reason| Error::corrupt(dir, reason))?;
        Ok((Self { file, id, length: bytes.len(), end: BEGIN }, records))
    }

    /// Bytes of the commits in it.
    pub(crate) fn used_bytes(&self) -> u64 {
        (self.end - BEGIN) as u64 / 2
    }

    /// Whether there is room for a record of so many bytes: now, or after a restart.
    pub(crate) fn has_room_for(&self, record_bytes: usize) -> bool {
        self.end + 2 * copy_bytes(record_bytes) <= self.length
    }

    /// Adds a commit; it is durable when this returns.
    pub(crate) fn append<'a>(
        &mut self,
        sum: &Sum,
        values: impl Iterator<Item = &'a [u8]> + Clone,
        changes: &[Change],
    ) -> io::Result<()> {
        let record_bytes = record::size_bytes(values.clone(), changes);
        let copy_bytes = copy_bytes(record_bytes);
        let mut copies = Vec::with_capacity(2 * copy_bytes);
        copies.extend_from_slice(COPY_MARK);
        copies.extend_from_slice(&self.id);
        copies.extend_from_slice(&(record_bytes as u64).to_le_bytes());
        record::write(&mut copies, sum, values, changes)?;
        copies.resize(copy_bytes, 0);
        copies.extend_from_within(..);
        self.file.write_all_at(&copies, self.end as u64)?;
        self.file.sync_data()?;
        self.end += copies.len();
        Ok(())
    }

    /// Begins anew: all of it stands in the rows, durably.
    pub(crate) fn restart(&mut self) {
        self.end = BEGIN;
    }
}

fn copy_bytes(record_bytes: usize) -> usize {
    (COPY_HEADER_BYTES + record_bytes).next_multiple_of(PAGE_BYTES)
}

fn header(id: &Id) -> Vec<u8> {
    let named = [FILE_MARK.as_slice(), id].concat();
    let digest = Sha256::digest(&named);
    [named.as_slice(), &digest].concat()
}

/// The id of the file, by either of its headers; a reason where it has none: it is not the log that was made here.
fn named(bytes: &[u8]) -> std::result::Result<Id, String> {
    if bytes.len() <= BEGIN || !bytes.len().is_multiple_of(PAGE_BYTES) {
        return Err("the log was cut".to_owned());
    }
    let id = |page: &[u8]| {
        let id: Id = page.get(FILE_MARK.len()..FILE_MARK.len() + ID_BYTES)?.try_into().ok()?;
        page.starts_with(&header(&id)).then_some(id)
    };
    let id = id(bytes).or_else(|| id(&bytes[PAGE_BYTES..]));
    id.ok_or_else(|| "the log has no header".to_owned())
}

fn path(dir: &Path) -> PathBuf {
    dir.join("log")
}

/// The records behind commit `last`, without a gap; a reason where one of them is there no more.
fn read(bytes: &[u8], id: &Id, mut last: u64) -> std::result::Result<Vec<Record>, String> {
    let (mut records, mut begin) = (Vec::new(), BEGIN);
    loop {
        let later = |at: usize| copy(&bytes[at..], id, last).map(|(record, length)| (at, record, length));
        let Some((at, record, length)) = (begin..bytes.len()).step_by(PAGE_BYTES).find_map(later) else {
            return Ok(records);
        };
        last += 1;
        if record.sum.commit != last || (at != begin && at != begin + length) {
            return Err(format!("commit {last} of the log is damaged"));
        }
        records.push(record);
        begin += 2 * length;
    }
}

/// The copy that begins here, if it is whole and of a later commit, and its length.
fn copy(bytes: &[u8], id: &Id, last: u64) -> Option<(Record, usize)> {
    let (header, rest) = bytes.split_at_checked(COPY_HEADER_BYTES)?;
    let own = header.strip_prefix(COPY_MARK)?.strip_prefix(id)?;
    let record_bytes = usize::try_from(u64::from_le_bytes(own.try_into().ok()?)).ok()?;
    if Sum::decode(rest.get(..Sum::BYTES)?)?.commit <= last {
        return None;
    }
    Some((record::decode(rest.get(..record_bytes)?)?, copy_bytes(record_bytes)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LENGTH: usize = 64 * PAGE_BYTES;

    /// What a commit writes; every third takes several pages.
    fn change(commit: u64) -> Change {
        let bytes = if commit.is_multiple_of(3) { 3 * PAGE_BYTES } else { 100 };
        (format!("key {commit}").into_bytes(), Some(vec![commit as u8; bytes]))
    }

    fn append(log: &mut Log, commit: u64) {
        log.append(&Sum { commit, ..Sum::default() }, std::iter::empty(), &[change(commit)]).unwrap();
    }

    fn commits(records: &[Record]) -> Vec<u64> {
        assert!(records.iter().all(|record| record.changes == [change(record.sum.commit)]));
        records.iter().map(|record| record.sum.commit).collect()
    }

    /// What of an earlier round is left behind the end means nothing, also where the next round is shorter.
    #[test]
    fn only_what_follows_the_rows_counts() {
        let dir = tempfile::tempdir().unwrap();
        Log::create(dir.path(), LENGTH).unwrap();
        let (mut log, records) = Log::open(dir.path(), 4).unwrap();
        assert!(records.is_empty());
        (5..=9).for_each(|commit| append(&mut log, commit));
        for (rows_end_at, left) in [(4, vec![5, 6, 7, 8, 9]), (6, vec![7, 8, 9]), (9, vec![])] {
            let read = Log::open(dir.path(), rows_end_at);
            let refused = rows_end_at == 6;
            assert_eq!(read.is_err(), refused, "rows never end in the middle of a round");
            let Ok((_, records)) = read else { continue };
            assert_eq!(commits(&records), left);
        }
        log.restart();
        append(&mut log, 10);
        assert_eq!(commits(&Log::open(dir.path(), 9).unwrap().1), [10]);
        assert!(log.has_room_for(LENGTH / 4) && !log.has_room_for(LENGTH / 2));
        for other in [vec![0; LENGTH], vec![7; LENGTH]] {
            fs::write(path(dir.path()), other).unwrap();
            assert!(Log::open(dir.path(), 9).is_err_and(|error| error.to_string().contains("header")));
        }
    }

    /// Damage to one copy is survived; a commit of which both are gone was never acknowledged, unless a later one is
    /// there; a log that was cut is noticed.
    #[test]
    fn a_commit_is_lost_only_where_it_was_never_whole() {
        let dir = tempfile::tempdir().unwrap();
        Log::create(dir.path(), LENGTH).unwrap();
        let (mut log, _) = Log::open(dir.path(), 0).unwrap();
        (1..=4).for_each(|commit| append(&mut log, commit));
        let good = fs::read(path(dir.path())).unwrap();
        let zeroed = |pages: &[usize]| {
            let mut bytes = good.clone();
            pages.iter().for_each(|page| bytes[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].fill(0));
            read(&bytes, &named(&bytes).unwrap(), 0).map(|records| commits(&records))
        };
        let pages = log.end / PAGE_BYTES;
        for page in 0..pages {
            assert_eq!(zeroed(&[page]), Ok(vec![1, 2, 3, 4]), "page {page}");
        }
        assert_eq!(zeroed(&[pages - 2, pages - 1]), Ok(vec![1, 2, 3]));
        assert!(zeroed(&[4, 5]).is_err_and(|reason| reason.contains("commit 2")));
        for length in [0, 1, good.len() - 1] {
            assert!(named(&good[..length]).is_err(), "cut to {length} bytes");
        }
    }
}
