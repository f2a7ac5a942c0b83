//! Connecting to another service.

mod answer;

use std::{
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tokio::time::Instant;
use tonic::{
    body::Body,
    codegen::BoxFuture,
    transport::{Channel as Transport, Endpoint},
};
use tower::Service;

use crate::{
    Progress,
    deadline::{self, GRPC_TIMEOUT},
    progress::MovingBody,
    telemetry,
};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a peer is noticed that says nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// A connection on which nothing came for so long is pinged.
    pub interval: Duration,
    /// How long a ping may stay unanswered; then the connection and its calls end.
    pub timeout: Duration,
}

/// Between services, whose connections are idle for long.
impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) }
    }
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {uri:?}: {reason}, allowed is http://HOST:PORT")]
pub struct Error {
    /// What was asked for.
    pub uri: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A channel to `uri` (`http://HOST:PORT`). It connects when first used and again whenever the connection is lost, so
/// the other side may start later; a call while there is no connection answers UNAVAILABLE.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// Where `uri` is not of that form.
pub fn connect(uri: &str) -> Result<Channel, Error> {
    connect_with(uri, Keepalive::default())
}

/// As [`connect`], with a keepalive of the caller's own.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(uri: &str, keepalive: Keepalive) -> Result<Channel, Error> {
    let endpoint = endpoint(uri).map_err(|reason| Error { uri: uri.to_owned(), reason })?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(keepalive.interval)
        .keep_alive_timeout(keepalive.timeout)
        .keep_alive_while_idle(true);
    Ok(Channel { transport: endpoint.connect_lazy() })
}

/// `uri`, if it is one that [`connect`] takes.
fn endpoint(uri: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| error.to_string())?;
    if endpoint.uri().scheme().is_none() {
        let meant = format!("http://{uri}");
        let tip = if self::endpoint(&meant).is_ok() { format!(": did you mean {meant}?") } else { String::new() };
        return Err(format!("the scheme is missing{tip}"));
    }
    if endpoint.uri().scheme_str() != Some("http") {
        return Err("the scheme is not http".to_owned());
    }
    if endpoint.uri().host().is_none() || endpoint.uri().port_u16().is_none() {
        return Err("the host or the port is missing".to_owned());
    }
    if endpoint.uri().path_and_query().is_some_and(|it| it.as_str() != "/") {
        return Err("there is a path".to_owned());
    }
    Ok(endpoint)
}

/// Checks that `uri` is one that [`connect`] takes.
///
/// # Errors
/// As [`connect`].
pub fn check(uri: &str) -> Result<(), Error> {
    endpoint(uri).map(|_| ()).map_err(|reason| Error { uri: uri.to_owned(), reason })
}

/// A transport channel that passes on, with every call, the current trace (W3C `traceparent`) and what is left of the
/// time that the request being answered was given (`grpc-timeout`, unless the call sets its own). A call that has such
/// a time and is not answered whole within it, or that stands still for [`crate::STALL_MAX`], ends with
/// DEADLINE_EXCEEDED.
#[derive(Debug, Clone)]
pub struct Channel {
    transport: Transport,
}

impl From<Transport> for Channel {
    fn from(transport: Transport) -> Self {
        Self { transport }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<Response<Body>, tonic::transport::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.transport, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        telemetry::inject(request.headers_mut());
        if let Some(left) = deadline::time_left()
            && !request.headers().contains_key(GRPC_TIMEOUT)
            && let Ok(value) = HeaderValue::try_from(format!("{}m", left.as_millis().min(MILLIS_MAX)))
        {
            request.headers_mut().insert(GRPC_TIMEOUT, value);
        }
        let allowed = deadline::asked(request.headers());
        let deadline = allowed.map(|allowed| (Instant::now() + allowed, allowed));
        let progress = Progress::default();
        let request = request.map(|body| Body::new(MovingBody::new(body, progress.clone())));
        let answer = Box::pin(Service::call(&mut self.transport, request));
        Box::pin(answer::bounded(answer, progress, deadline))
    }
}

/// A `grpc-timeout` has at most eight digits.
const MILLIS_MAX: u128 = 99_999_999;
