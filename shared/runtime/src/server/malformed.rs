//! A message that is none is the caller's fault: INVALID_ARGUMENT. tonic answers INTERNAL for what it can't decode,
//! before any method of ours sees it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Response};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body, codegen::Bytes};

const STATUS: &str = "grpc-status";
/// Every error of our services has details; what tonic says by itself has none.
const DETAILS: &str = "grpc-status-details-bin";

/// The answer, with the fault where it belongs.
pub(super) fn blamed(mut response: Response<Body>) -> Response<Body> {
    blame_caller(response.headers_mut());
    response.map(|body| Body::new(Trailers { body }))
}

fn blame_caller(headers: &mut HeaderMap) {
    let code = headers.get(STATUS).map(|it| Code::from_bytes(it.as_bytes()));
    if code == Some(Code::Internal) && !headers.contains_key(DETAILS) {
        headers.insert(STATUS, HeaderValue::from(Code::InvalidArgument as i32));
    }
}

/// An answer whose status comes after its last message.
struct Trailers {
    body: Body,
}

impl http_body::Body for Trailers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context).map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                blame_caller(trailers);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
