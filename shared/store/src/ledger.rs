//! What a commit changes, worked out and accounted for: rows, their sum, and references to files.

use std::{fs::File, path::Path};

use crate::{
    Error, Result,
    batch::Put,
    blobs::Blobs,
    generation::SUM_KEY,
    head::{Head, Sum},
    log::Log,
    row::{BlobDigest, Value, share},
    rows::{Change, Outcome, Rows},
    table::Table,
};

/// What a row costs beside its key and value, in bytes: a generous guess.
const ROW_OVERHEAD_BYTES: u64 = 64;

/// What all rows add up to, and which files they refer to. Only the one who commits touches it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) head: Head,
    pub(crate) log: Log,
    /// What all rows add up to now; the head says it of those in the database.
    pub(crate) sum: Sum,
    pub(crate) blobs: Blobs,
    /// Bytes of the rows alive, with overhead.
    pub(crate) live_bytes: u64,
    /// Bytes written to this generation.
    pub(crate) generation_bytes: u64,
    /// Dropped when the store is closed.
    pub(crate) lock: Option<File>,
}

/// A commit worked out, before anything is written.
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    pub(crate) sum: Sum,
    pub(crate) referred: Vec<BlobDigest>,
    pub(crate) released: Vec<BlobDigest>,
    pub(crate) live_bytes: u64,
}

impl Ledger {
    /// Reads every row of a database just opened: its checksum, the files it needs, and whether all are there.
    pub(crate) fn load(&mut self, dir: &Path, rows: &Rows) -> Result<()> {
        let (mut seen, mut told) = (Sum::default(), None);
        let unreadable = |reason: String| Error::corrupt(dir, reason);
        for found in rows.range(b"", None).map_err(unreadable)? {
            let (key, row) = found.map_err(unreadable)?;
            if key == SUM_KEY {
                told = Sum::decode(&row);
                continue;
            }
            let value = Value::decode(&key, &row).ok_or_else(|| Error::corrupt(dir, damaged(&key)))?;
            seen.rows += 1;
            seen.checks = seen.checks.wrapping_add(share(&row));
            self.live_bytes += row_bytes(&key, &row);
            if let Value::Blob(digest) = value {
                self.blobs.refer(digest);
            }
        }
        let told = told.ok_or_else(|| Error::corrupt(dir, "the row that counts the others is missing"))?;
        if (seen.rows, seen.checks) != (told.rows, told.checks) {
            return Err(Error::corrupt(dir, format!("{} rows were written, {} are whole", told.rows, seen.rows)));
        }
        let head = self.head.entry();
        // A crash between the rows' barrier and the head's leaves the head one commit behind.
        let agreed = told == head.sum || told.commit == head.sum.commit + 1;
        if !agreed {
            let reason = format!("rows end at commit {}, but {} was acknowledged", told.commit, head.sum.commit);
            return Err(Error::corrupt(dir, reason));
        }
        if told != head.sum {
            let written = self.head.advance(head.generation, told);
            written.map_err(|e| Error::io("write", &dir.join("head"), e))?;
        }
        self.sum = told;
        self.blobs.sweep()
    }

    /// Works out what changes: rows, their sum, and which files gain or lose a reference.
    pub(crate) fn plan(
        &self,
        table: &Table,
        changes: &[(Vec<u8>, Option<&Put>)],
        values: &[Option<Value>],
    ) -> Outcome<Plan> {
        let mut sum = self.sum;
        sum.commit += 1;
        let mut plan = Plan {
            changes: Vec::with_capacity(changes.len()),
            sum,
            referred: Vec::new(),
            released: Vec::new(),
            live_bytes: self.live_bytes,
        };
        for ((key, _), value) in changes.iter().zip(values) {
            let old = table.get(key)?;
            let row = value.as_ref().map(|value| value.encode(key));
            if old.as_deref() == row.as_deref() {
                continue;
            }
            if let Some(old) = old {
                plan.sum.rows -= 1;
                plan.sum.checks = plan.sum.checks.wrapping_sub(share(&old));
                plan.live_bytes = plan.live_bytes.saturating_sub(row_bytes(key, &old));
                let old = Value::decode(key, &old).ok_or_else(|| damaged(key))?;
                if let Value::Blob(digest) = old {
                    plan.released.push(digest);
                }
            }
            if let Some(row) = &row {
                plan.sum.rows += 1;
                plan.sum.checks = plan.sum.checks.wrapping_add(share(row));
                plan.live_bytes += row_bytes(key, row);
            }
            if let Some(Value::Blob(digest)) = value {
                plan.referred.push(*digest);
            }
            plan.changes.push((key.clone(), row));
        }
        Ok(plan)
    }

    /// Says durably that the rows add up to this.
    pub(crate) fn advance_head(&mut self, sum: Sum) -> Outcome<()> {
        let generation = self.head.entry().generation;
        self.head.advance(generation, sum).map_err(|e| format!("can't write the head file: {e}"))
    }

    /// The same in both slots of the head, so that either may be damaged later: what the log held is given up for it.
    pub(crate) fn settle_head(&mut self, sum: Sum) -> Outcome<()> {
        self.advance_head(sum)?;
        self.advance_head(sum)
    }

    /// Takes over what a durable commit changed, and answers the large values that no row refers to any more.
    pub(crate) fn accept(&mut self, plan: Plan) -> Vec<BlobDigest> {
        self.sum = plan.sum;
        self.live_bytes = plan.live_bytes;
        for digest in plan.referred {
            self.blobs.refer(digest);
        }
        for digest in &plan.released {
            self.blobs.release(digest);
        }
        self.blobs.unused(plan.released)
    }
}

/// Space that it takes to move so many bytes to the rows. Thrice the size: they may be written down first, a generation
/// may be moved, and sled keeps what is superseded for a while.
pub(crate) fn moving_bytes(size_bytes: u64, live_bytes: u64) -> u64 {
    3 * size_bytes + live_bytes + (1 << 20)
}

pub(crate) fn row_bytes(key: &[u8], row: &[u8]) -> u64 {
    (key.len() + row.len()) as u64 + ROW_OVERHEAD_BYTES
}

pub(crate) fn damaged(key: &[u8]) -> String {
    format!("row {} is damaged", String::from_utf8_lossy(key).escape_default())
}
