//! Encoded messages that consist of one repeated field, cut into its entries, so that those which nobody asks for are
//! not decoded.

use bytes::{Buf as _, Bytes};

use super::keys::unreadable;
use crate::Result;

/// The wire type of what has a length.
const LENGTH_DELIMITED: u8 = 2;

/// The encoded entries of one row, in order; after the first one that can't be read there is none.
pub(super) struct Repeated {
    key: String,
    tag: u8,
    bytes: Bytes,
}

impl Repeated {
    /// Those of the row with this key; its message has nothing but the repeated field with this number, below 16.
    pub(super) fn new(key: String, field: u8, bytes: impl Into<Bytes>) -> Self {
        Self { key, tag: field << 3 | LENGTH_DELIMITED, bytes: bytes.into() }
    }

    fn cut(&mut self) -> Result<Bytes, String> {
        if self.bytes.get_u8() != self.tag {
            return Err("no entry where one must be".to_owned());
        }
        let length = prost::decode_length_delimiter(&mut self.bytes).map_err(|error| error.to_string())?;
        if length > self.bytes.len() {
            return Err(format!("an entry of {length} bytes where {} are left", self.bytes.len()));
        }
        Ok(self.bytes.split_to(length))
    }
}

impl Iterator for Repeated {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        Some(self.cut().map_err(|message| {
            self.bytes.clear();
            unreadable(self.key.as_bytes(), &message)
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prost::Message as _;
    use rstuf_api::proto::tasks::v1::{ChangeResult, ListTaskResultsResponse};

    use super::*;

    fn entries(bytes: Vec<u8>) -> Vec<Result<Bytes>> {
        Repeated::new("row".to_owned(), 1, bytes).collect()
    }

    #[test]
    fn entries_are_those_of_the_message() {
        let result = |length: usize| ChangeResult { path: "x".repeat(length), outcome: 1 };
        let results: Vec<_> = [0, 1, 127, 128, 20_000].map(result).into();
        let message = ListTaskResultsResponse { results: results.clone(), next_page_token: String::new() };
        let read =
            entries(message.encode_to_vec()).into_iter().map(|entry| ChangeResult::decode(entry.unwrap()).unwrap());
        assert_eq!(read.collect::<Vec<_>>(), results);
        assert!(entries(Vec::new()).is_empty());
    }

    #[test]
    fn what_is_damaged_is_said_once() {
        for (bytes, readable) in [(&[9][..], 0), (&[10], 0), (&[10, 1, 0, 10, 2, 0], 1), (&[10, 0, 18, 0, 10, 0], 1)] {
            let read = entries(bytes.to_vec());
            assert_eq!(
                (read.len(), read.iter().filter(|it| it.is_ok()).count()),
                (readable + 1, readable),
                "{bytes:?}"
            );
        }
    }
}
