//! Deadlines that cut what does not move, never what is large. Both sides of a call have the same ones.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use tokio::time::Instant;
use tonic::{Status, body::Body, codegen::Bytes};

/// How long a call between services may stand still: nothing comes, nothing goes, no answer.
pub const STALL_MAX: Duration = Duration::from_secs(120);

/// How long a call between services may take however it moves: a caller that sends a byte a minute holds a place too.
pub const CALL_MAX: Duration = Duration::from_secs(3_600);

/// When a call moved last. Clones are one.
#[derive(Debug, Clone)]
pub struct Progress {
    last: Arc<Mutex<Instant>>,
}

impl Default for Progress {
    /// It moved now.
    fn default() -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())) }
    }
}

impl Progress {
    /// It moved.
    pub fn moved(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends when it has stood still for `max`.
    pub async fn stalled(&self, max: Duration) {
        loop {
            let until = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + max;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// A request that goes, or comes, piece by piece.
pub(crate) struct MovingBody {
    body: Body,
    progress: Progress,
}

impl MovingBody {
    /// Each piece is progress.
    pub(crate) fn new(body: Body, progress: Progress) -> Self {
        Self { body, progress }
    }
}

impl http_body::Body for MovingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.progress.moved();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
