//! Messages on their way in: none is larger than its method takes, which is seen by its length, before it comes; none
//! is waited for without end; and those that are large have room together, until the next one of their request, or its
//! answer, begins.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::{Status, body::Body, codegen::Bytes};
use tower::{Layer, Service};

/// What gRPC puts before each message: whether it is compressed, and its length in four bytes.
const HEADER_BYTES: usize = 5;
/// Messages up to this size, in bytes, need no room: as many as may be under way at a time are little.
const SMALL_BYTES: usize = 128 * 1024;

/// Bounds of messages on their way in.
#[derive(Debug, Clone)]
pub struct MessageLimits {
    /// The largest message that a method takes, in bytes, by its path.
    pub bytes_max: fn(&str) -> usize,
    /// Bytes of all large messages at a time; a larger one can never come in.
    pub room_bytes: u32,
    /// How long a message may take, the first or the next of a stream, from when whoever answers waits for it to its
    /// last byte, waiting for room included; then DEADLINE_EXCEEDED. Who sends nothing holds nothing for longer.
    pub time_max: Duration,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { bytes_max: |_| 4 * 1024 * 1024, room_bytes: 64 * 1024 * 1024, time_max: Duration::from_secs(60) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct RoomLayer {
    limits: MessageLimits,
    room: Arc<Semaphore>,
}

impl RoomLayer {
    pub(super) fn new(limits: MessageLimits) -> Self {
        let room = Arc::new(Semaphore::new(limits.room_bytes as usize));
        Self { limits, room }
    }
}

impl<S> Layer<S> for RoomLayer {
    type Service = Rooms<S>;

    fn layer(&self, inner: S) -> Rooms<S> {
        Rooms { inner, layer: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Rooms<S> {
    inner: S,
    layer: RoomLayer,
}

/// The room of a request's last message, if that is a large one. The request's body and whoever answers it hold it.
type Held = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl<S> Service<Request<Body>> for Rooms<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let RoomLayer { limits, room } = self.layer.clone();
        let held = Held::default();
        let bytes_max = (limits.bytes_max)(request.uri().path());
        let lengths = Lengths { bytes_max, header: [0; HEADER_BYTES], header_bytes: 0, left: 0 };
        let (time_max, answering) = (limits.time_max, held.clone());
        let body = |body| Body::new(Incoming { body, lengths, room, held, time_max, deadline: None, waiting: None });
        let answer = self.inner.call(request.map(body));
        Box::pin(async move {
            let answer = answer.await;
            drop(answering);
            answer
        })
    }
}

/// Where in its messages a request is.
#[derive(Debug)]
struct Lengths {
    bytes_max: usize,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Of the message that is coming.
    left: usize,
}

impl Lengths {
    /// Whether the last message came whole, and nothing of the next one.
    fn is_between(&self) -> bool {
        self.left == 0 && self.header_bytes == 0
    }

    /// Passes over what came. Answers the length of the last message that began in it, if one did.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<Option<usize>, Status> {
        let mut begun = None;
        loop {
            let content = self.left.min(bytes.len());
            self.left -= content;
            bytes = &bytes[content..];
            let Some((first, rest)) = bytes.split_first() else { return Ok(begun) };
            self.header[self.header_bytes] = *first;
            self.header_bytes += 1;
            bytes = rest;
            if self.header_bytes == HEADER_BYTES {
                self.header_bytes = 0;
                let [_, length @ ..] = self.header;
                self.left = u32::from_be_bytes(length) as usize;
                if self.left > self.bytes_max {
                    let Self { left, bytes_max, .. } = self;
                    let message = format!("a message of {left} bytes, this method takes at most {bytes_max}: split it");
                    return Err(Status::out_of_range(message));
                }
                begun = Some(self.left);
            }
        }
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The body of a request.
struct Incoming {
    body: Body,
    lengths: Lengths,
    room: Arc<Semaphore>,
    held: Held,
    time_max: Duration,
    /// Of the message that is being waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Until a large message has room: this, and what came with its length.
    waiting: Option<(Waiting, Bytes)>,
}

impl Incoming {
    fn hold(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    /// A message of so many bytes began with this data.
    fn begin(&mut self, length: usize, data: Bytes) -> Option<Bytes> {
        self.hold(None);
        if length <= SMALL_BYTES {
            return Some(data);
        }
        let permits = u32::try_from(length).unwrap_or(u32::MAX);
        self.waiting = Some((Box::pin(self.room.clone().acquire_many_owned(permits)), data));
        None
    }

    /// What came with the length, once there is room for the rest.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let Some((waiting, _)) = &mut self.waiting else { return Poll::Ready(None) };
        let Poll::Ready(permit) = waiting.as_mut().poll(context) else {
            ready!(self.poll_late(context));
            let message = format!("no room for a message of this size within {:?}: try again later", self.time_max);
            return Poll::Ready(Some(Err(Status::resource_exhausted(message))));
        };
        let data = self.waiting.take().map(|(_, data)| data).unwrap_or_default();
        // The room is never closed.
        self.hold(permit.ok());
        Poll::Ready(Some(Ok(data)))
    }

    /// Ready when the message has been waited for too long. Time passes only while whoever answers waits for it.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time_max = self.time_max;
        self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(time_max))).as_mut().poll(context)
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(data) = ready!(self.poll_room(context)) {
                return Poll::Ready(Some(data.map(Frame::data)));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                ready!(self.poll_late(context));
                let message = format!("no whole message came within {:?}: the request is given up", self.time_max);
                return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
            };
            let data = match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            let begun = self.lengths.pass(&data)?;
            if begun.is_some() || self.lengths.is_between() {
                self.deadline = None;
            }
            let data = match begun {
                Some(length) => self.begin(length, data),
                None => Some(data),
            };
            if let Some(data) = data {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
