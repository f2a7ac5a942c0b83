//! Bounded HTTP requests: no answer is trusted with its length or its pace.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, Url};

use crate::{Error, Limits};

/// A whole answer may take this long, and longer at the rate below: a server that only drips would hold a client for
/// ever (the slow retrieval attack of the TUF specification, 1.5.2).
const TIME_BASE: Duration = Duration::from_secs(60);
const BYTES_A_SECOND_MIN: u64 = 1024;

/// The base URL of a directory, and the client to fetch its files with.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    client: Client,
    base: Url,
}

impl Remote {
    pub(crate) fn client(limits: &Limits) -> Result<Client, Error> {
        let builder = Client::builder().connect_timeout(limits.connect_time).read_timeout(limits.pause_time);
        builder.build().map_err(|source| Error::Client { source })
    }

    pub(crate) fn new(client: Client, field: &'static str, base: &str) -> Result<Self, Error> {
        let usable = Url::parse(base).ok().filter(|url| url.scheme() == "http" && !url.cannot_be_a_base());
        let base = usable.ok_or_else(|| Error::Url { field, value: base.to_owned() })?;
        Ok(Self { client, base })
    }

    /// Begins to fetch `path`, whose segments are percent-encoded here.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] if there is no such file; some servers say 403 or 410 for that.
    pub(crate) async fn open(&self, path: &str, bytes_max: u64) -> Result<Answer, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        let time = TIME_BASE + Duration::from_secs(bytes_max / BYTES_A_SECOND_MIN);
        let sent = self.client.get(url.clone()).timeout(time).send().await;
        let url = String::from(url);
        let response = match sent {
            Ok(response) => response,
            Err(source) => return Err(Error::Transport { url, source: source.without_url() }),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => return Err(Error::Absent { url }),
            status => return Err(Error::Status { url, status: status.as_u16() }),
        }
        if response.content_length().is_some_and(|length| length > bytes_max) {
            return Err(Error::TooLong { url, bytes_max });
        }
        Ok(Answer { response, url, bytes_max, left: bytes_max })
    }

    /// Fetches all of `path` into memory.
    pub(crate) async fn get(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, Error> {
        let mut answer = self.open(path, bytes_max).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = answer.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// An answer being read.
pub(crate) struct Answer {
    response: Response,
    url: String,
    bytes_max: u64,
    left: u64,
}

impl Answer {
    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] with the first piece beyond the limit, which is not given out.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let next = self.response.chunk().await;
        let piece = next.map_err(|source| Error::Transport { url: self.url.clone(), source: source.without_url() })?;
        let Some(piece) = piece else { return Ok(None) };
        let too_long = || Error::TooLong { url: self.url.clone(), bytes_max: self.bytes_max };
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(too_long)?;
        Ok(Some(piece))
    }
}
