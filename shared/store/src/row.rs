//! How a value stands in a row: its kind, a checksum that binds it to its key, and its bytes or their digest.

use sha2::{Digest, Sha256};

pub(crate) use crate::staged::BlobDigest;
use crate::{INLINE_BYTES_MAX, batch::Put};

const KIND_INLINE: u8 = 0;
const KIND_BLOB: u8 = 1;
const CHECK_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + CHECK_BYTES;

/// What a row holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Inline(Vec<u8>),
    Blob(BlobDigest),
}

impl Value {
    /// Decides where a value stands.
    pub(crate) fn of(put: &Put) -> Self {
        match put {
            Put::Value(bytes) if bytes.len() <= INLINE_BYTES_MAX => Self::Inline(bytes.clone()),
            Put::Value(bytes) => Self::Blob(digest(bytes)),
            Put::Staged(staged) => Self::Blob(staged.digest()),
        }
    }

    /// The row's bytes under `key`.
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut row = vec![0; HEADER_BYTES];
        match self {
            Self::Inline(bytes) => {
                row[0] = KIND_INLINE;
                row.extend_from_slice(bytes);
            }
            Self::Blob(digest) => {
                row[0] = KIND_BLOB;
                row.extend_from_slice(digest);
            }
        }
        let check = check(row[0], key, &row[HEADER_BYTES..]);
        row[1..HEADER_BYTES].copy_from_slice(&check);
        row
    }

    /// Reads a row back; `None` if it is not what was written under `key`.
    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Option<Self> {
        let (kind, stored) = (*row.first()?, row.get(1..HEADER_BYTES)?);
        let body = &row[HEADER_BYTES..];
        if check(kind, key, body) != stored {
            return None;
        }
        match kind {
            KIND_INLINE => Some(Self::Inline(body.to_vec())),
            KIND_BLOB => Some(Self::Blob(body.try_into().ok()?)),
            _ => None,
        }
    }
}

/// Names a large value.
pub(crate) fn digest(value: &[u8]) -> BlobDigest {
    Sha256::digest(value).into()
}

/// A row's share in the sum of all rows: its checksum.
pub(crate) fn share(row: &[u8]) -> u128 {
    row.get(1..HEADER_BYTES).and_then(|check| check.try_into().ok()).map_or(0, u128::from_le_bytes)
}

fn check(kind: u8, key: &[u8], body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hash = Sha256::new();
    hash.update([kind]);
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    let digest: [u8; 32] = hash.finalize().into();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}
