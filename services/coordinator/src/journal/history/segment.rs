//! A file of the history: rows of the journal in the order of their keys, in blocks, each with its digest. The row that
//! names the file holds the digest of the list of blocks, so whatever is read of it is what was written.

use std::{io, ops::Bound, sync::Arc};

use bytes::Bytes;
use jiff::civil::Date;
use prost::Message as _;
use rstuf_store::{NewFile, SealedFile, Store};
use rstuf_tuf::Sha256;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::filter::{self, KeyHash};
use crate::{
    Error, Result,
    journal::keys::{TASKS, history_key, task_of_key, unreadable},
};

/// A block ends with the row that brings it over so many bytes. What is in memory of a file is the first key of each
/// block, and the filter.
const BLOCK_BYTES: usize = 32 * 1024;

/// Which file: what finished on which day, and in which order files came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// The day, in UTC.
    pub day: Date,
    /// Grows with each file.
    pub seq: u64,
}

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (day, seq) = text.split_at_checked("2027-01-01".len())?;
        Some(Self { day: day.parse().ok()?, seq: u64::from_str_radix(seq.strip_prefix('-')?, 16).ok()? })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{:016x}", self.day, self.seq)
    }
}

/// What the journal knows of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentRow {
    /// Tasks in it.
    pub tasks: u64,
    /// The one made last.
    pub newest: Uuid,
    /// The one made first.
    pub oldest: Uuid,
    /// Its size.
    pub bytes: u64,
    /// Where the list of its blocks begins; it ends with the file.
    pub blocks: u64,
    /// Digest of that list.
    pub sha256: Sha256,
}

/// A row of the journal, as it was.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Row {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Block {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<Row>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Blocks {
    #[prost(message, repeated, tag = "1")]
    places: Vec<Place>,
    #[prost(bytes = "bytes", tag = "2")]
    filter: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Place {
    #[prost(bytes = "bytes", tag = "1")]
    first: Bytes,
    #[prost(uint64, tag = "2")]
    begin: u64,
    #[prost(uint64, tag = "3")]
    length: u64,
    #[prost(bytes = "bytes", tag = "4")]
    sha256: Bytes,
}

/// A file, and where its blocks are.
pub(super) struct Segment {
    pub(super) name: Name,
    pub(super) row: SegmentRow,
    file: SealedFile,
    blocks: Blocks,
}

impl Segment {
    /// Writes rows that come sorted, each key once, into a new file. Blocks.
    pub(super) fn write(store: &Store, name: Name, rows: impl Iterator<Item = Result<Row>>) -> Result<Self> {
        let mut file = store.new_file(&name.to_string())?;
        let (mut blocks, mut block, mut bytes) = (Blocks::default(), Block::default(), 0);
        let (mut hashes, mut tasks) = (Vec::new(), Vec::new());
        for row in rows {
            let row = row?;
            hashes.push(KeyHash::of(&row.key));
            if row.key.starts_with(TASKS.as_bytes()) {
                tasks.push(task_of_key(&row.key)?);
            }
            bytes += row.encoded_len();
            block.rows.push(row);
            if bytes >= BLOCK_BYTES {
                blocks.places.push(place(&block, &mut file)?);
                block.rows.clear();
                bytes = 0;
            }
        }
        if !block.rows.is_empty() {
            blocks.places.push(place(&block, &mut file)?);
        }
        blocks.filter = filter::build(&hashes).into();
        let (begin, list) = (file.bytes(), blocks.encode_to_vec());
        file.append(&list)?;
        let row = SegmentRow {
            tasks: tasks.len() as u64,
            newest: tasks.iter().max().copied().unwrap_or_default(),
            oldest: tasks.iter().min().copied().unwrap_or_default(),
            bytes: file.bytes(),
            blocks: begin,
            sha256: Sha256::of(&list),
        };
        Ok(Self { name, row, file: file.seal()?, blocks })
    }

    /// One that the journal names. Blocks.
    pub(super) fn open(store: &Store, name: Name, row: SegmentRow) -> Result<Self> {
        Self::read(store, name, row).map_err(|fault| fault.of(name))
    }

    /// Whether all of one that the journal names is as it was written. Blocks.
    pub(super) fn check(store: &Store, name: Name, row: SegmentRow) -> Result<(), Fault> {
        let segment = Self::read(store, name, row)?;
        (0..segment.blocks.places.len()).try_for_each(|index| segment.read_block(index).map(drop))
    }

    fn read(store: &Store, name: Name, row: SegmentRow) -> Result<Self, Fault> {
        let file = store.open_file(&name.to_string())?;
        let list = read(&file, row.blocks, row.bytes.saturating_sub(row.blocks))?;
        let blocks = Some(list).filter(|list| Sha256::of(list) == row.sha256).and_then(|it| Blocks::decode(it).ok());
        let blocks = blocks.ok_or_else(|| Fault::Damaged(format!("{} is damaged", file.path().display())))?;
        Ok(Self { name, row, file, blocks })
    }

    /// The value of a key. Blocks.
    pub(super) fn get(&self, key: &[u8], hash: KeyHash) -> Result<Option<Bytes>> {
        if !filter::may_hold(&self.blocks.filter, hash) {
            return Ok(None);
        }
        let rows = self.block(self.block_of(key))?;
        Ok(rows.into_iter().find(|row| row.key == key).map(|row| row.value))
    }

    /// The block that holds a key, if any does.
    fn block_of(&self, key: &[u8]) -> usize {
        self.blocks.places.partition_point(|place| place.first <= key).saturating_sub(1)
    }

    fn block(&self, index: usize) -> Result<Vec<Row>> {
        self.read_block(index).map_err(|fault| fault.of(self.name))
    }

    fn read_block(&self, index: usize) -> Result<Vec<Row>, Fault> {
        let Some(place) = self.blocks.places.get(index) else { return Ok(Vec::new()) };
        let bytes = read(&self.file, place.begin, place.length)?;
        let whole = Sha256::of(&bytes).as_bytes().as_slice() == place.sha256;
        let block = whole.then(|| Block::decode(bytes).ok()).flatten();
        let damaged = || Fault::Damaged(format!("{} is damaged at byte {}", self.file.path().display(), place.begin));
        Ok(block.ok_or_else(damaged)?.rows)
    }

    /// The rows from a place on. Blocks; reads a block at a time.
    pub(super) fn rows(self: Arc<Self>, from: Bound<&[u8]>) -> impl Iterator<Item = Result<Row>> + use<> {
        let first = match from {
            Bound::Included(key) | Bound::Excluded(key) => self.block_of(key),
            Bound::Unbounded => 0,
        };
        let from = from.map(<[u8]>::to_vec);
        let before = move |row: &Row| match &from {
            Bound::Included(key) => row.key < *key,
            Bound::Excluded(key) => row.key <= *key,
            Bound::Unbounded => false,
        };
        let blocks = (first..self.blocks.places.len()).map(move |index| self.block(index));
        let rows = |rows: Result<Vec<Row>>| match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        blocks.flat_map(rows).skip_while(move |row| row.as_ref().is_ok_and(&before))
    }

    /// Its first key; none if it is empty.
    pub(super) fn first(&self) -> Option<&Bytes> {
        self.blocks.places.first().map(|place| &place.first)
    }
}

fn place(block: &Block, file: &mut NewFile) -> Result<Place> {
    let (begin, bytes) = (file.bytes(), block.encode_to_vec());
    file.append(&bytes)?;
    let first = block.rows.first().map(|row| row.key.clone()).unwrap_or_default();
    let sha256 = Sha256::of(&bytes).as_bytes().to_vec().into();
    Ok(Place { first, begin, length: bytes.len() as u64, sha256 })
}

fn read(file: &SealedFile, begin: u64, length: u64) -> rstuf_store::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read(begin, &mut bytes)?;
    Ok(bytes.into())
}

/// Why a file can't be read.
pub(super) enum Fault {
    /// It is missing, or not what was written.
    Damaged(String),
    /// The disk does not say.
    Disk(rstuf_store::Error),
}

impl From<rstuf_store::Error> for Fault {
    fn from(error: rstuf_store::Error) -> Self {
        match &error {
            rstuf_store::Error::Io { source, .. }
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Damaged(error.to_string())
            }
            _ => Self::Disk(error),
        }
    }
}

impl Fault {
    /// As the journal's error, which says what to do.
    fn of(self, name: Name) -> Error {
        let reason = match self {
            Self::Damaged(reason) => reason,
            Self::Disk(error) => return error.into(),
        };
        let ways = "bring that file back from a backup; or stop the coordinator and run it once with `forget-damaged`, \
                    which forgets the finished tasks in it, with their results and request ids, and nothing else";
        unreadable(history_key(name).as_bytes(), &format!("{reason}: {ways}"))
    }
}
