//! Records in the order of their paths, in a file that never changes. It has no name and goes with the process: what
//! is in it is derived, so nothing of it is made durable.

use std::{io, ops::Bound, path::Path, sync::Arc};

use bytes::{Buf as _, Bytes};
use rstuf_store::Scratch;

/// A block ends with the record that brings it over so many bytes. What is in memory of a segment is the first path of
/// each block.
const BLOCK_BYTES: usize = 32 * 1024;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 * 1024;
/// Length of a target that is gone.
const GONE: u32 = u32::MAX;

/// What is known of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The path.
    pub path: Arc<str>,
    /// What stands there, encoded; none where it is gone.
    pub target: Option<Bytes>,
}

/// The file, and where its blocks begin.
pub(super) struct Segment {
    file: Scratch,
    blocks: Vec<(Arc<str>, u64)>,
}

impl Segment {
    /// Writes records that come sorted, each path once, into a new file in `folder`.
    pub(super) fn write(folder: &Path, records: impl Iterator<Item = io::Result<Record>>) -> io::Result<Self> {
        let mut file = Scratch::create(folder, WRITE_BYTES as u64).map_err(io::Error::other)?;
        let (mut blocks, mut buffer, mut block_end) = (Vec::new(), Vec::new(), 0_u64);
        for record in records {
            let Record { path, target } = record?;
            let bytes = file.bytes() + buffer.len() as u64;
            if bytes >= block_end {
                blocks.push((path.clone(), bytes));
                block_end = bytes + BLOCK_BYTES as u64;
            }
            let text = u16::try_from(path.len()).map_err(io::Error::other)?;
            let value = target.as_ref().map(|target| u32::try_from(target.len())).transpose();
            buffer.extend(text.to_be_bytes());
            buffer.extend(value.map_err(io::Error::other)?.unwrap_or(GONE).to_be_bytes());
            buffer.extend_from_slice(path.as_bytes());
            buffer.extend_from_slice(target.as_deref().unwrap_or_default());
            if buffer.len() >= WRITE_BYTES {
                file.append(&buffer).map_err(io::Error::other)?;
                buffer.clear();
            }
        }
        file.append(&buffer).map_err(io::Error::other)?;
        Ok(Self { file, blocks })
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// What is known of one path. Blocks.
    pub(super) fn find(self: &Arc<Self>, path: &str) -> io::Result<Option<Record>> {
        let first = Cursor::records(self.clone(), Bound::Included(path)).next().transpose()?;
        Ok(first.filter(|record| &*record.path == path))
    }

    fn read_block(&self, index: usize) -> io::Result<Option<Bytes>> {
        let Some((_, begin)) = self.blocks.get(index) else { return Ok(None) };
        let end = self.blocks.get(index + 1).map_or(self.bytes(), |(_, next)| *next);
        let mut block = vec![0; usize::try_from(end - begin).map_err(io::Error::other)?];
        self.file.read(*begin, &mut block).map_err(io::Error::other)?;
        Ok(Some(block.into()))
    }
}

/// The records of a segment from a place on. Blocks; reads a block at a time.
pub(super) struct Cursor {
    segment: Arc<Segment>,
    next_block: usize,
    block: Bytes,
}

impl Cursor {
    /// From the first record within the bound.
    pub(super) fn records(
        segment: Arc<Segment>,
        from: Bound<&str>,
    ) -> impl Iterator<Item = io::Result<Record>> + use<> {
        let next_block = match from {
            Bound::Included(path) | Bound::Excluded(path) => {
                segment.blocks.partition_point(|(first, _)| &**first <= path).saturating_sub(1)
            }
            Bound::Unbounded => 0,
        };
        let from = from.map(str::to_owned);
        let before = move |record: &Record| match &from {
            Bound::Included(from) => *record.path < **from,
            Bound::Excluded(from) => *record.path <= **from,
            Bound::Unbounded => false,
        };
        Self { segment, next_block, block: Bytes::new() }.skip_while(move |record| record.as_ref().is_ok_and(&before))
    }

    fn take(&mut self) -> io::Result<Record> {
        let cut = || io::Error::new(io::ErrorKind::InvalidData, "a record of the list of artifacts is cut off");
        let block = &mut self.block;
        let text = usize::from(block.try_get_u16().map_err(|_| cut())?);
        let value = block.try_get_u32().map_err(|_| cut())?;
        let target = if value == GONE { 0 } else { usize::try_from(value).map_err(io::Error::other)? };
        if block.len() < text + target {
            return Err(cut());
        }
        let path = std::str::from_utf8(&block.split_to(text)).map_err(io::Error::other)?.into();
        let target = block.split_to(target);
        Ok(Record { path, target: (value != GONE).then_some(target) })
    }
}

impl Iterator for Cursor {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.block.is_empty() {
            self.block = match self.segment.read_block(self.next_block).transpose()? {
                Ok(block) => block,
                Err(error) => return Some(Err(error)),
            };
            self.next_block += 1;
        }
        Some(self.take())
    }
}
