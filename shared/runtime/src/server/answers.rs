//! Answers on their way out, a piece at a time. What its caller does not read stays with the answer, which keeps its
//! place until all of it has gone; and nobody keeps a place for long by not reading.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};

use crate::{
    connections::{Closer, LongestFirst},
    peers::Peer,
};

/// Bytes that go to the connection at a time, which takes the next ones when the caller has read.
const PIECE_BYTES: usize = 64 * 1024;

/// The answers whose last piece was not taken yet. Cheap to clone; clones are one list.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(LongestFirst);

/// Who reads an answer.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    /// Ends the connection that the answer goes to.
    pub(super) closer: Closer,
}

impl Unread {
    /// Closes the connection of the answer `of` this peer, or of any, that has waited longest, if that is `min` or
    /// longer. Says whether it did.
    pub(super) fn close_longest(&self, min: Duration, of: Option<Peer>) -> bool {
        let found = self.0.longest(of).filter(|it| it.since.elapsed() >= min);
        found.map(|it| it.closer.close()).is_some()
    }

    /// Closes, for ever, the connections of answers that have waited for `max`.
    pub(super) async fn close_late(&self, max: Duration) -> Infallible {
        loop {
            self.0.for_long(max).iter().for_each(|it| it.closer.close());
            // Those that are closed now are gone until then.
            tokio::time::sleep(max / 4).await;
        }
    }
}

/// An answer that keeps `place` until all of it has gone, or its connection.
pub(super) struct Answer<P> {
    body: Body,
    /// What is left of a piece that was too large.
    rest: Bytes,
    unread: Unread,
    caller: Option<Caller>,
    /// Its place among those that wait, while it does.
    waits: Option<u64>,
    _place: P,
}

impl<P> Answer<P> {
    /// Of an unknown caller nobody knows what to close: its connection is gone.
    pub(super) fn new(body: Body, unread: Unread, caller: Option<Caller>, place: P) -> Self {
        Self { body, rest: Bytes::new(), unread, caller, waits: None, _place: place }
    }

    /// The last piece was taken.
    fn taken(&mut self) {
        if let Some(place) = self.waits.take() {
            self.unread.0.remove(place);
        }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.waits = self.caller.as_ref().map(|caller| self.unread.0.insert(caller.peer, &caller.closer));
        Frame::data(piece)
    }
}

impl<P> Drop for Answer<P> {
    fn drop(&mut self) {
        self.taken();
    }
}

impl<P: Unpin> http_body::Body for Answer<P> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.taken();
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
