//! From a file to an HTTP answer: conditional requests, ranges, caching headers (RFC 9110, RFC 9111).

use std::ops::Range;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
        IF_NONE_MATCH, IF_RANGE, RANGE, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};

use crate::{
    body::{Compressed, FileRange, Source},
    gzip,
    shelf::{Content, Found, Stored, tag},
    wire::Answers,
};

/// A year, the longest that RFC 9111 caches are asked to keep anything.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

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

/// A file chosen to answer a request.
pub(crate) struct Representation {
    pub(crate) found: Found,
    pub(crate) content: Content,
    pub(crate) caching: Caching,
}

impl Representation {
    /// Answers a `GET` or `HEAD`: 200, 206, 304 or 416. What comes from a file is sent over the connection of
    /// `answers`.
    pub(crate) fn respond(self, method: &Method, request: &HeaderMap, answers: &Answers) -> Response<Source> {
        let plain = match &self.found.stored {
            Stored::Memory(small) => small.tag.clone(),
            Stored::Disk(_) => tag(self.found.digest),
        };
        if let Some(tag) = matching_tag(request, &plain) {
            return self.with_headers(tag, StatusCode::NOT_MODIFIED, Source::EMPTY);
        }
        let length = self.found.stored.length();
        let range = if *method == Method::GET { requested_range(request, &plain, length) } else { Requested::Whole };
        match range {
            Requested::Whole => self.whole(method, request, plain, answers),
            Requested::Part(range) => {
                let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                self.range(StatusCode::PARTIAL_CONTENT, plain, range, place, answers)
            }
            Requested::Unsatisfiable => {
                let place = format!("bytes */{length}");
                let mut response = self.range(StatusCode::RANGE_NOT_SATISFIABLE, plain, 0..0, place, answers);
                response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
                response
            }
        }
    }

    fn whole(self, method: &Method, request: &HeaderMap, plain: HeaderValue, answers: &Answers) -> Response<Source> {
        let length = self.found.stored.length();
        let gzip = self.content == Content::Metadata && gzip::is_worth(length) && gzip::is_accepted(request);
        let (source, sent) = match &self.found.stored {
            _ if *method == Method::HEAD && !gzip => (Source::EMPTY, Some(length)),
            Stored::Memory(small) => {
                let bytes = small.gzip.as_ref().filter(|_| gzip).unwrap_or(&small.bytes).clone();
                let length = bytes.len() as u64;
                (if *method == Method::HEAD { Source::EMPTY } else { Source::Whole(bytes) }, Some(length))
            }
            Stored::Disk(_) if *method == Method::HEAD => (Source::EMPTY, None),
            Stored::Disk(file) if gzip => (Source::Gzip(Compressed::new(file.clone())), None),
            Stored::Disk(file) => {
                (Source::Range(FileRange::new(file.clone(), 0..length, answers.clone())), Some(length))
            }
        };
        let tag = if gzip { with_suffix(&plain) } else { plain };
        let mut response = self.with_headers(tag, StatusCode::OK, source);
        if gzip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(length) = sent {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }

    fn range(
        self,
        status: StatusCode,
        plain: HeaderValue,
        range: Range<u64>,
        place: String,
        answers: &Answers,
    ) -> Response<Source> {
        let length = range.end - range.start;
        let source = match &self.found.stored {
            Stored::Memory(small) => Source::Whole(slice(&small.bytes, &range)),
            Stored::Disk(file) => Source::Range(FileRange::new(file.clone(), range, answers.clone())),
        };
        let mut response = self.with_headers(plain, status, source);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        // Digits and punctuation are always valid.
        if let Ok(place) = HeaderValue::try_from(place) {
            response.headers_mut().insert(CONTENT_RANGE, place);
        }
        response
    }

    fn with_headers(&self, tag: HeaderValue, status: StatusCode, source: Source) -> Response<Source> {
        let mut response = Response::new(source);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ETAG, tag);
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

/// The bytes of a range that lies within the length of them.
fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

/// An answer without a file: an error, never cached, since the file may be there in a moment.
pub(crate) fn refusal(status: StatusCode) -> Response<Source> {
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    let mut response = Response::new(Source::Whole(format!("{reason}\n").into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The entity tag of the gzip form: a strong tag names exact bytes (RFC 9110, 8.8.3).
fn with_suffix(plain: &HeaderValue) -> HeaderValue {
    HeaderValue::try_from(format!("\"{}{GZIP_SUFFIX}\"", value_of(plain))).unwrap_or_else(|_| plain.clone())
}

/// What stands between the quotes of a tag.
fn value_of(tag: &HeaderValue) -> &str {
    tag.to_str().unwrap_or_default().trim_matches('"')
}

/// The tag of `If-None-Match` that names the document, in either form: a client that holds either needs nothing new.
fn matching_tag(request: &HeaderMap, plain: &HeaderValue) -> Option<HeaderValue> {
    let values = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let digest = value_of(plain);
    values.flat_map(|value| value.split(',')).map(str::trim).find_map(|tag| {
        match tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').strip_prefix(digest) {
            _ if tag == "*" => Some(plain.clone()),
            Some("") => Some(plain.clone()),
            Some(GZIP_SUFFIX) => Some(with_suffix(plain)),
            _ => None,
        }
    })
}

/// What a request's `Range` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requested {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

fn requested_range(request: &HeaderMap, plain: &HeaderValue, length: u64) -> Requested {
    let Some(range) = request.get(RANGE).and_then(|value| value.to_str().ok()) else {
        return Requested::Whole;
    };
    // A date, a weak tag or the tag of the gzip form never names the plain bytes for sure, so the whole is sent.
    let same = request.get(IF_RANGE).is_none_or(|tag| tag == plain);
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
