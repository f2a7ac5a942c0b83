//! What is seen of every request: one span, its metrics, its time limit.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use rand::RngExt;
use tokio::time::Instant;
use tonic::{Code, Status, body::Body, codegen::Bytes};
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use crate::{
    GrpcMetrics, Progress,
    connections::{Remote, UnderWay},
    deadline::{self, with_deadline},
    progress::MovingBody,
    telemetry,
};

/// Metadata that names a request in logs and spans; made up where the caller gives none.
const REQUEST_ID: &str = "x-request-id";
/// The longest such name that is believed, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// The method that requests for unknown methods are counted under: their names are the caller's invention, and a
/// metric for each would grow without bound.
const METHOD_UNKNOWN: &str = "unknown";

/// The name of the request being handled, in its extensions: the caller's `x-request-id`, or a random one.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

#[derive(Debug, Clone)]
pub(super) struct ObserveLayer {
    service: Arc<str>,
    metrics: GrpcMetrics,
    request_timeout: Duration,
    stall_timeout: Duration,
}

impl ObserveLayer {
    pub(super) fn new(
        service: Arc<str>,
        metrics: GrpcMetrics,
        request_timeout: Duration,
        stall_timeout: Duration,
    ) -> Self {
        Self { service, metrics, request_timeout, stall_timeout }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, layer: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S> Service<Request<Body>> for Observe<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = request_id(request.headers());
        let span = self.layer.span(&request, &id);
        request.extensions_mut().insert(RequestId(id));
        let asked = deadline::asked(request.headers());
        let timeout = asked.map_or(self.layer.request_timeout, |it| it.min(self.layer.request_timeout));
        let deadline = Instant::now() + timeout;
        let mut seen = Observation::new(request.uri().path(), self.layer.metrics.clone(), span.clone());
        if let Some(Remote { address, requests }) = request.extensions_mut().remove() {
            // Where methods look for it.
            request.extensions_mut().insert(address);
            request.extensions_mut().insert(requests.closer());
            seen.under_way = Some(requests.begin());
        }
        let (progress, stall_timeout) = (Progress::default(), self.layer.stall_timeout);
        let moving = progress.clone();
        let request = request.map(|body| Body::new(MovingBody::new(body, moving)));
        let answer = with_deadline(deadline, span.in_scope(|| self.inner.call(request)));
        let answer = async move {
            let late = |message: String| Ok(Status::deadline_exceeded(message).into_http());
            let response = tokio::select! {
                biased;
                response = answer => response,
                () = tokio::time::sleep_until(deadline) => late(format!("no answer within {timeout:?}")),
                () = progress.stalled(stall_timeout) => {
                    late(format!("nothing came for {stall_timeout:?}, and no answer was ready"))
                }
            }?;
            if let Some(code) = code(response.headers()) {
                seen.end(code);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(ObservedBody { body, seen })))
        };
        Box::pin(answer.instrument(span))
    }
}

impl ObserveLayer {
    /// The request's span, within the caller's trace. Probes get none: they would drown the rest.
    fn span(&self, request: &Request<Body>, id: &str) -> Span {
        let method = request.uri().path();
        if method.starts_with("/grpc.health.v1.Health/") {
            return Span::none();
        }
        let span = tracing::info_span!(
            "request",
            service = %self.service,
            method,
            request_id = id,
            trace_id = field::Empty,
            code = field::Empty,
            otel.name = method,
            otel.kind = "server",
            otel.status_code = field::Empty,
        );
        telemetry::extract(&span, request.headers());
        if let Some(trace_id) = telemetry::trace_id(&span) {
            span.record("trace_id", trace_id);
        }
        span
    }
}

fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|it| it.to_str().ok());
    match given {
        Some(id) if (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_graphic()) => {
            id.into()
        }
        // A name for logs, not a secret and not part of any result, so its randomness need not be an argument.
        _ => format!("{:016x}", rand::rng().random::<u64>()).into(),
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|it| Code::from_bytes(it.as_bytes()))
}

/// What is known of a request until its answer ends. One that is dropped before was given up by its caller, or died.
#[derive(Debug)]
struct Observation {
    method: String,
    metrics: GrpcMetrics,
    span: Span,
    start: Instant,
    ended: bool,
    /// Until then its connection is not idle.
    under_way: Option<UnderWay>,
}

impl Observation {
    fn new(method: &str, metrics: GrpcMetrics, span: Span) -> Self {
        metrics.in_flight.inc();
        let method = method.to_owned();
        Self { method, metrics, span, start: Instant::now(), ended: false, under_way: None }
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let name = code_name(code);
        self.span.record("code", name);
        if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
            self.span.record("otel.status_code", "ERROR");
        }
        let elapsed = self.start.elapsed();
        self.span.in_scope(|| tracing::debug!(elapsed_ms = elapsed.as_millis() as u64, "answered"));
        let known = code != Code::Unimplemented;
        let method = if known { std::mem::take(&mut self.method) } else { METHOD_UNKNOWN.to_owned() };
        self.metrics.in_flight.dec();
        self.metrics.seconds.with(&method).observe(elapsed.as_secs_f64());
        self.metrics.requests.get_or_create(&[("method", method), ("code", name.to_owned())]).inc();
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.end(if std::thread::panicking() { Code::Internal } else { Code::Cancelled });
    }
}

/// The name as gRPC spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// An answer whose status comes after its last message.
struct ObservedBody {
    body: Body,
    seen: Observation,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let span = self.seen.span.clone();
        let frame = span.in_scope(|| Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    self.seen.end(code);
                }
            }
            Poll::Ready(Some(Err(status))) => self.seen.end(status.code()),
            Poll::Ready(None) => self.seen.end(Code::Unknown),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
