//! Answers that stop midway: wherever one stands still, before its first byte, between two messages or before its
//! status, it is given up.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Bytes},
    transport,
};

use crate::{Progress, STALL_MAX, liveness::beat};

/// Waits for an answer, whose body goes on to be bounded. `progress` is that of the request's body; `deadline` is when
/// the answer must be whole.
pub(super) async fn bounded(
    answer: BoxFuture<Response<Body>, transport::Error>,
    progress: Progress,
    deadline: Option<(Instant, Duration)>,
) -> Result<Response<Body>, transport::Error> {
    let late = async {
        match deadline {
            Some((at, allowed)) => {
                tokio::time::sleep_until(at).await;
                allowed
            }
            None => std::future::pending().await,
        }
    };
    let answer = tokio::select! {
        biased;
        // Before the transport, which tells the same with another code.
        allowed = late => return Ok(too_late(allowed).into_http()),
        answer = answer => answer?,
        () = progress.stalled(STALL_MAX) => return Ok(stalled().into_http()),
    };
    beat();
    let deadline = deadline.map(|(at, allowed)| (Box::pin(tokio::time::sleep_until(at)), allowed));
    Ok(answer.map(|body| Body::new(AnswerBody { body, progress, deadline, waiting: None })))
}

fn too_late(allowed: Duration) -> Status {
    Status::deadline_exceeded(format!("no whole answer within {allowed:?}"))
}

fn stalled() -> Status {
    Status::deadline_exceeded(format!("nothing moved for {STALL_MAX:?}, and no whole answer came"))
}

/// An answer that comes piece by piece. Time passes only while somebody waits for the next one: whoever is slow to
/// read must not take that for a call that stands still.
struct AnswerBody {
    body: Body,
    progress: Progress,
    deadline: Option<(Pin<Box<Sleep>>, Duration)>,
    /// Until nothing has moved for too long.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl AnswerBody {
    fn poll_given_up(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if let Some((deadline, allowed)) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(too_late(*allowed));
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            let progress = self.progress.clone();
            progress.moved();
            Box::pin(async move { progress.stalled(STALL_MAX).await })
        });
        waiting.as_mut().poll(context).map(|()| stalled())
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = None;
            beat();
            return Poll::Ready(frame);
        }
        self.poll_given_up(context).map(|status| Some(Err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio_stream::StreamExt as _;

    use super::*;

    /// How long it takes to read an answer of so many pieces, which come so far apart and are read so slowly, and
    /// whether it came whole. The clock moves only while everything waits.
    async fn read(pieces: u32, apart: Duration, slowly: Duration, allowed: Option<Duration>) -> (Duration, bool) {
        let begun = Instant::now();
        let pieces = tokio_stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(apart).await;
            Ok::<_, Status>(Frame::data(Bytes::from_static(b"piece")))
        });
        let answer = Box::pin(async move { Ok(Response::new(Body::new(StreamBody::new(pieces)))) });
        let deadline = allowed.map(|allowed| (begun + allowed, allowed));
        let mut body = bounded(answer, Progress::default(), deadline).await.unwrap().into_body();
        loop {
            match body.frame().await {
                Some(Ok(_)) => tokio::time::sleep(slowly).await,
                Some(Err(status)) => {
                    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
                    return (begun.elapsed(), false);
                }
                None => return (begun.elapsed(), true),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_cut_when_it_stands_still_not_when_it_is_large() {
        let (slow, still, at_once) = (STALL_MAX - Duration::from_secs(1), STALL_MAX * 2, Duration::ZERO);
        assert_eq!(read(20, slow, at_once, None).await, (slow * 20, true), "it moves all the time");
        assert_eq!(read(20, still, at_once, None).await, (STALL_MAX, false), "it stands still");
        assert_eq!(read(2, slow, still, None).await, ((slow + still) * 2, true), "it was not waited for");
        let hour = Duration::from_secs(3_600);
        assert_eq!(read(1_000, slow, at_once, Some(hour)).await, (hour, false), "it was given an hour");
    }
}
