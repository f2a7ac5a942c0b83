//! Documents by gzip: as fast as it goes, since JSON shrinks well anyway.

use std::{
    io::{self, Write as _},
    mem,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header::ACCEPT_ENCODING};

use crate::files::{CHUNK_BYTES, OpenFile};

/// Documents below this many bytes are sent as they are: gzip's own overhead eats the gain.
const BYTES_MIN: u64 = 1024;

/// Whether a document of this length is worth it.
pub(crate) fn is_worth(length: u64) -> bool {
    length >= BYTES_MIN
}

/// Whether a client takes gzip (RFC 9110, 12.5.3).
pub(crate) fn is_accepted(request: &HeaderMap) -> bool {
    let weight = |wanted: &str| {
        let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).find_map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.trim().parse().ok());
            name.trim().eq_ignore_ascii_case(wanted).then_some(weight.unwrap_or(0.0_f32))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

/// All of these bytes, unless that is not worth it.
pub(crate) fn whole(bytes: &[u8]) -> io::Result<Option<Bytes>> {
    if !is_worth(bytes.len() as u64) {
        return Ok(None);
    }
    let mut encoder = encoder();
    encoder.write_all(bytes)?;
    Ok(Some(encoder.finish()?.into()))
}

/// A file that is compressed as it is read.
pub(crate) struct Packing {
    file: OpenFile,
    offset: u64,
    /// None after the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Packing {
    pub(crate) fn new(file: OpenFile) -> Self {
        Self { file, offset: 0, encoder: Some(encoder()) }
    }

    /// The next part of what comes out; nothing after the end. The last one is held back until the file is known not
    /// to have been written to meanwhile. Blocks.
    pub(crate) fn next(&mut self) -> io::Result<Bytes> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(Bytes::new()) };
        loop {
            let chunk = self.file.read_at(self.offset, CHUNK_BYTES)?;
            self.offset += chunk.len() as u64;
            encoder.write_all(&chunk)?;
            if self.offset == self.file.length() {
                self.file.check_unchanged()?;
                return Ok(encoder.finish()?.into());
            }
            if !encoder.get_ref().is_empty() {
                let ready = mem::take(encoder.get_mut());
                self.encoder = Some(encoder);
                return Ok(ready.into());
            }
        }
    }
}

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let accepted = |values: &[&str]| {
            let values = values.iter().map(|value| (ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap()));
            let mut request = HeaderMap::new();
            values.for_each(|(name, value)| {
                request.append(name, value);
            });
            is_accepted(&request)
        };
        let takes: [&[&str]; 7] = [
            &["gzip"],
            &["br, GZIP"],
            &["br", "gzip;q=0.1"],
            &["*"],
            &["gzip ; q=1.0"],
            &["br;q=0, *;q=0.5"],
            &["gzip;x"],
        ];
        for values in takes {
            assert!(accepted(values), "{values:?}");
        }
        for values in
            [&[][..], &[""], &["br"], &["gzip;q=0"], &["gzip;q=0.000, *"], &["xgzip"], &["*;q=0"], &["gzip;q=x"]]
        {
            assert!(!accepted(values), "{values:?}");
        }
    }
}
