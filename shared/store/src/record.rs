//! A batch as it is written down before it is applied to the rows: as a whole, so that a crash in between can't leave a
//! part of it.
//!
//! ```text
//! sum of all rows afterwards | large values | rows | SHA-256 of that
//! large value: 0, length and content
//! row:         length and key, length and content (none where it is removed)
//! ```

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::{head::Sum, rows::Change};

/// Length of a row that is removed.
const REMOVED: u32 = u32::MAX;
const DIGEST_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;

/// A batch that was read back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// What all rows add up to afterwards.
    pub(crate) sum: Sum,
    /// Values that are too large for a row.
    pub(crate) values: Vec<Vec<u8>>,
    pub(crate) changes: Vec<Change>,
}

impl Record {
    /// Bytes of it as it is written down.
    pub(crate) fn size_bytes(&self) -> u64 {
        size_bytes(self.values.iter().map(Vec::as_slice), &self.changes) as u64
    }
}

/// Writes a batch down.
pub(crate) fn write<'a>(
    out: impl Write,
    sum: &Sum,
    values: impl Iterator<Item = &'a [u8]>,
    changes: &[Change],
) -> io::Result<()> {
    let mut out = Digested { out, hash: Sha256::new() };
    out.write_all(&sum.encode())?;
    for value in values {
        out.length(0)?;
        out.length(value.len())?;
        out.write_all(value)?;
    }
    for (key, row) in changes {
        out.length(key.len())?;
        out.write_all(key)?;
        match row {
            Some(row) => out.length(row.len()).and_then(|()| out.write_all(row))?,
            None => out.write_all(&REMOVED.to_le_bytes())?,
        }
    }
    let Digested { mut out, hash } = out;
    out.write_all(&hash.finalize())?;
    out.flush()
}

/// Bytes of a batch that is written down.
pub(crate) fn size_bytes<'a>(values: impl Iterator<Item = &'a [u8]>, changes: &[Change]) -> usize {
    let values: usize = values.map(|value| 2 * LENGTH_BYTES + value.len()).sum();
    let row = |(key, row): &Change| 2 * LENGTH_BYTES + key.len() + row.as_ref().map_or(0, Vec::len);
    Sum::BYTES + values + changes.iter().map(row).sum::<usize>() + DIGEST_BYTES
}

/// Reads a batch back; none if it is not what was written.
pub(crate) fn decode(bytes: &[u8]) -> Option<Record> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let (sum, mut rest) = body.split_at_checked(Sum::BYTES)?;
    let mut record = Record { sum: Sum::decode(sum)?, values: Vec::new(), changes: Vec::new() };
    while !rest.is_empty() {
        let length = length(&mut rest)?;
        let key = take(&mut rest, length)?.to_vec();
        let row = match self::length(&mut rest)? {
            REMOVED => None,
            length => Some(take(&mut rest, length)?.to_vec()),
        };
        match (key.is_empty(), row) {
            (false, row) => record.changes.push((key, row)),
            (true, Some(value)) => record.values.push(value),
            (true, None) => return None,
        }
    }
    Some(record)
}

fn length(rest: &mut &[u8]) -> Option<u32> {
    take(rest, LENGTH_BYTES as u32)?.try_into().ok().map(u32::from_le_bytes)
}

fn take<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

struct Digested<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Digested<W> {
    fn length(&mut self, length: usize) -> io::Result<()> {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write_all(&length.to_le_bytes())
    }
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.out.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let sum = Sum { commit: 7, rows: 3, checks: 11 };
        let changes =
            vec![(b"a".to_vec(), Some(b"row".to_vec())), (b"b".to_vec(), None), (b"c".to_vec(), Some(vec![]))];
        let values = vec![vec![1; 5_000], Vec::new()];
        let each = || values.iter().map(Vec::as_slice);
        let mut bytes = Vec::new();
        write(&mut bytes, &sum, each(), &changes).unwrap();
        assert_eq!(bytes.len(), size_bytes(each(), &changes));
        for at in 0..bytes.len() {
            let mut hurt = bytes.clone();
            hurt[at] ^= 1;
            assert_eq!(decode(&hurt), None, "byte {at}");
        }
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&bytes), Some(Record { sum, values, changes }));
    }
}
