//! From an open file to an HTTP answer: conditional requests, ranges, caching headers (RFC 9110, RFC 9111).

use std::{io, ops::Range};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures::stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
        RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use rstuf_tuf::Sha256;
use tokio::task::spawn_blocking;

use crate::files::{CHUNK_BYTES, OpenFile};

/// A year, the longest that RFC 9111 caches are asked to keep anything.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Bodies below this many bytes are sent as they are: gzip's own overhead eats the gain.
const GZIP_BYTES_MIN: u64 = 1024;

/// The suffix of an entity tag's value that tells the gzip form of a document from the plain one.
const GZIP_SUFFIX: &str = "-gzip";

/// How long caches may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caching {
    /// The URL names these bytes for ever.
    Immutable,
    /// The URL will name other bytes some day: so many seconds.
    Seconds(u32),
}

impl Caching {
    fn header(self) -> HeaderValue {
        match self {
            Self::Immutable => IMMUTABLE,
            Self::Seconds(seconds) => HeaderValue::try_from(format!("public, max-age={seconds}")).unwrap_or(NO_STORE),
        }
    }
}

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A metadata document: JSON, worth compressing.
    Metadata,
    /// An artifact: opaque bytes that no browser shall interpret.
    Artifact,
}

/// Marks a response that the compression layer may compress.
#[derive(Clone, Copy)]
pub(crate) struct Compressible;

/// A file chosen to answer a request.
pub(crate) struct Representation {
    pub(crate) file: OpenFile,
    pub(crate) digest: Sha256,
    pub(crate) content: Content,
    pub(crate) caching: Caching,
}

impl Representation {
    /// Answers a `GET` or `HEAD`: 200, 206, 304 or 416.
    pub(crate) fn respond(self, method: &Method, request: &HeaderMap) -> Response {
        let plain = self.digest.to_string();
        if let Some(tag) = matching_tag(request, &plain) {
            return self.with_headers(&tag, StatusCode::NOT_MODIFIED, Body::empty());
        }
        let length = self.file.length();
        let range = if *method == Method::GET { requested_range(request, &plain, length) } else { Requested::Whole };
        let (status, range) = match range {
            Requested::Whole => (StatusCode::OK, 0..length),
            Requested::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Requested::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        };
        let body = if *method == Method::HEAD { Body::empty() } else { body(self.file.clone(), range.clone()) };
        let compressible = self.content == Content::Metadata && status == StatusCode::OK && length >= GZIP_BYTES_MIN;

        let mut response = self.with_headers(&plain, status, body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        match status {
            StatusCode::PARTIAL_CONTENT => {
                let value = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                set(headers, CONTENT_RANGE, value);
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                set(headers, CONTENT_RANGE, format!("bytes */{length}"));
                headers.insert(CACHE_CONTROL, NO_STORE);
            }
            _ if compressible => {
                response.extensions_mut().insert(Compressible);
            }
            _ => {}
        }
        response
    }

    fn with_headers(&self, tag: &str, status: StatusCode, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        set(headers, ETAG, format!("\"{tag}\""));
        headers.insert(CACHE_CONTROL, self.caching.header());
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match self.content {
            Content::Metadata => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
            }
            Content::Artifact => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            }
        }
        response
    }
}

/// An answer without a file: an error, never cached, since the file may be there in a moment.
pub(crate) fn refusal(status: StatusCode) -> Response {
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    let mut response = Response::new(Body::from(format!("{reason}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Gives a compressed response an entity tag of its own: a strong tag names exact bytes (RFC 9110, 8.8.3).
pub(crate) fn mark_compressed(mut response: Response) -> Response {
    if response.headers().contains_key(http::header::CONTENT_ENCODING) {
        let plain = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(|tag| tag.trim_matches('"'));
        if let Some(marked) = plain.map(|tag| format!("\"{tag}{GZIP_SUFFIX}\"")) {
            set(response.headers_mut(), ETAG, marked);
        }
    }
    response
}

/// Sets a header whose value is made of digits, hex and punctuation, so that it is a valid one.
fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The tag of `If-None-Match` that names the document, in either form: a client that holds either needs nothing new.
fn matching_tag(request: &HeaderMap, plain: &str) -> Option<String> {
    let gzip = format!("{plain}{GZIP_SUFFIX}");
    request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find_map(|tag| match tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') {
            "*" => Some(plain.to_owned()),
            tag if tag == plain || tag == gzip => Some(tag.to_owned()),
            _ => None,
        })
}

/// What a request's `Range` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requested {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

fn requested_range(request: &HeaderMap, plain: &str, length: u64) -> Requested {
    let Some(range) = request.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Requested::Whole;
    };
    // A date, a weak tag or the tag of the gzip form never names the plain bytes for sure, so the whole is sent.
    let same = request.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == format!("\"{plain}\"").as_bytes());
    if same { parse_range(range, length) } else { Requested::Whole }
}

/// Reads a `Range` of one part. What is malformed, of another unit or of several parts is ignored, as RFC 9110 (14.2)
/// allows.
fn parse_range(value: &str, length: u64) -> Requested {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Requested::Whole;
    };
    let number = |digits: &str| -> Option<u64> {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // Digits that don't fit are a number beyond every file.
        plain.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), None) if last.is_empty() => first..length,
        (Some(first), Some(last)) if first <= last => first..length.min(last.saturating_add(1)),
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return Requested::Whole,
    };
    if range.is_empty() { Requested::Unsatisfiable } else { Requested::Part(range) }
}

/// Streams a range of the file. The last piece is held back until the file is known not to have been written to
/// meanwhile: otherwise the connection is cut, so that the client sees an incomplete answer rather than a mixed one.
fn body(file: OpenFile, range: Range<u64>) -> Body {
    Body::from_stream(stream::try_unfold((file, range), async |(file, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let reading = file.clone();
        let Range { start, end } = range;
        let chunk = spawn_blocking(move || {
            let left = usize::try_from(end - start).unwrap_or(usize::MAX);
            let chunk = reading.read_at(start, left.min(CHUNK_BYTES))?;
            if start + chunk.len() as u64 == end {
                reading.check_unchanged()?;
            }
            io::Result::Ok(Bytes::from(chunk))
        })
        .await
        .map_err(io::Error::other)??;
        let next = start + chunk.len() as u64..end;
        io::Result::Ok(Some((chunk, (file, next))))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_by_the_book() {
        let cases = [
            ("bytes=0-0", Requested::Part(0..1)),
            ("bytes=2-", Requested::Part(2..10)),
            ("bytes=2-99", Requested::Part(2..10)),
            ("bytes=-3", Requested::Part(7..10)),
            ("bytes=-99", Requested::Part(0..10)),
            ("bytes=9-99999999999999999999999", Requested::Part(9..10)),
            ("bytes=10-", Requested::Unsatisfiable),
            ("bytes=99999999999999999999999-", Requested::Unsatisfiable),
            ("bytes=-0", Requested::Unsatisfiable),
            ("bytes=3-2", Requested::Whole),
            ("bytes=0-1,4-5", Requested::Whole),
            ("bytes=+1-2", Requested::Whole),
            ("bytes=-", Requested::Whole),
            ("lines=0-1", Requested::Whole),
            ("", Requested::Whole),
        ];
        for (value, wanted) in cases {
            assert_eq!(parse_range(value, 10), wanted, "{value}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Requested::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(value in "bytes=[0-9]{0,20}-[0-9]{0,20}|.{0,40}", length in 0..u64::MAX) {
            if let Requested::Part(range) = parse_range(&value, length) {
                prop_assert!(!range.is_empty() && range.end <= length);
            }
        }
    }
}
