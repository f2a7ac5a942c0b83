//! The state's own account of itself, outside sled: without it, a log cut short by damage would look like an older,
//! whole state.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{Error, Result, files};

/// What all rows add up to. It stands in `head` and, with each batch, in a row of sled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Number of the last commit.
    pub(crate) commit: u64,
    /// Number of rows.
    pub(crate) rows: u64,
    /// Sum of the rows' checksums.
    pub(crate) checks: u128,
}

impl Sum {
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.commit.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.rows.to_le_bytes());
        bytes[16..].copy_from_slice(&self.checks.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(Self {
            commit: u64::from_le_bytes(bytes[..8].try_into().ok()?),
            rows: u64::from_le_bytes(bytes[8..16].try_into().ok()?),
            checks: u128::from_le_bytes(bytes[16..].try_into().ok()?),
        })
    }
}

/// One entry of the head file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Number of writes to the head file.
    pub(crate) turn: u64,
    /// Which `rows-N` directory counts.
    pub(crate) generation: u64,
    /// What its rows add up to, at least.
    pub(crate) sum: Sum,
}

const ENTRY_BYTES: usize = 16 + Sum::BYTES + 32;
/// The two slots stand in different sectors, so a torn write damages one of them only.
const SLOT_BYTES: u64 = 4096;

/// The head file: two slots written in turn, so that one is whole at any instant.
#[derive(Debug)]
pub(crate) struct Head {
    file: File,
    entry: Entry,
}

impl Head {
    pub(crate) fn create(path: &Path, entry: Entry) -> Result<Self> {
        let bytes = [encode(&entry).as_slice(), &vec![0; SLOT_BYTES as usize - ENTRY_BYTES], &encode(&entry)].concat();
        files::replace(path, &bytes)?;
        Self::open(path)?.ok_or_else(|| Error::corrupt(path, "head can't be read back"))
    }

    /// `None` if there is no such file.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let file = match files::open(path, OpenOptions::new().read(true).write(true)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let slots = [0, SLOT_BYTES].map(|offset| {
            let mut bytes = [0; ENTRY_BYTES];
            file.read_exact_at(&mut bytes, offset).ok().and_then(|()| decode(&bytes))
        });
        let entry = slots.into_iter().flatten().max_by_key(|entry| entry.turn);
        let dir = path.parent().unwrap_or(path);
        let entry = entry.ok_or_else(|| Error::corrupt(dir, "both entries of the head file are damaged"))?;
        Ok(Some(Self { file, entry }))
    }

    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// Durably writes the next entry into the older slot.
    pub(crate) fn advance(&mut self, generation: u64, sum: Sum) -> std::io::Result<()> {
        let entry = Entry { turn: self.entry.turn + 1, generation, sum };
        self.file.write_all_at(&encode(&entry), (entry.turn % 2) * SLOT_BYTES)?;
        self.file.sync_data()?;
        self.entry = entry;
        Ok(())
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes =
        [&entry.turn.to_le_bytes(), &entry.generation.to_le_bytes(), entry.sum.encode().as_slice()].concat();
    let check: [u8; 32] = Sha256::digest(&bytes).into();
    bytes.extend_from_slice(&check);
    bytes
}

fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
    let (body, check) = bytes.split_at(ENTRY_BYTES - 32);
    if Sha256::digest(body).as_slice() != check {
        return None;
    }
    Some(Entry {
        turn: u64::from_le_bytes(body[..8].try_into().ok()?),
        generation: u64::from_le_bytes(body[8..16].try_into().ok()?),
        sum: Sum::decode(&body[16..])?,
    })
}
