//! One way to serve gRPC. From the outside in, a request passes:
//!
//! 1. the connection: at most [`ServeOptions::connections_max`], none that has no request for too long, none that grows
//!    too old;
//! 2. trace, metrics and time limit, for every method, health and reflection included;
//! 3. what is no message is answered INVALID_ARGUMENT;
//! 4. its messages: none is larger than [`MessageLimits`] allow, and large ones wait for room;
//! 5. health and reflection answer here, so that they answer also when the service is full;
//! 6. overload: at most [`ServeOptions::requests_max`] requests at a time, and of one peer its
//!    [share](ServeOptions::peer_percent_max) of them, each until its answer has gone; the next one is
//!    RESOURCE_EXHAUSTED at once;
//! 7. the service's own layers, which it has put around its routes (authorization, audit), and its methods.
//!
//! Nothing is compressed: a small message that unpacks to a large one would pass every limit.

mod answers;
mod malformed;
mod observe;
mod places;
mod room;

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{service::Routes, transport::Server};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::util::MapResponseLayer;

use self::{answers::Unread, observe::ObserveLayer, places::Places, room::RoomLayer};
use crate::{
    CALL_MAX, Context, GrpcMetrics, Readiness, STALL_MAX, Shutdown,
    connections::{self, Limits},
    peers,
};

pub use observe::RequestId;
pub use room::MessageLimits;

/// How long a connection may have no request: whoever has one later connects again, and pays one round trip for it.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Requests at a time on one connection: as many as HTTP/2 recommends to allow at least (RFC 9113, 6.5.2).
const STREAMS_MAX: u32 = 100;
/// How many bytes that nobody has read yet may come on one connection, so that all that are being answered are little
/// together.
const WINDOW_BYTES: u32 = 256 * 1024;
/// The largest header list that a request may have, in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file descriptors given for reflection are not an encoded `FileDescriptorSet`.
    #[error("the descriptor set for reflection is invalid: {source}")]
    Descriptors {
        /// Why.
        source: tonic_reflection::server::Error,
    },
    /// The server failed.
    #[error("the gRPC server failed: {source}")]
    Transport {
        /// Why.
        source: tonic::transport::Error,
    },
}

/// What [`serve`] is told: start from [`ServeOptions::new`], whose bounds suit a service that answers other services.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The service's name in spans.
    pub service: Arc<str>,
    /// Where requests and connections are counted.
    pub metrics: GrpcMetrics,
    /// What the health service reports.
    pub readiness: Readiness,
    /// The encoded `FileDescriptorSet` that reflection shows; no reflection without it.
    pub descriptor_set: Option<Vec<u8>>,
    /// Full names of services whose health can be asked for one by one; the whole server's (`""`) always can.
    pub health_services: Vec<String>,
    /// Requests being answered at a time, over all connections. A request counts until its answer has gone; where there
    /// are more, the one gives way whose caller has not read for longest.
    pub requests_max: usize,
    /// Methods, by path, whose answers take any time, such as a watcher's: these count until they begin, and their
    /// service bounds them itself.
    pub long_answers: fn(&str) -> bool,
    /// How long an answer may wait for its caller to read; then the connection is closed.
    pub unread_max: Duration,
    /// How large messages may be, one by one and together.
    pub messages: MessageLimits,
    /// Requests at a time on one connection.
    pub streams_max: u32,
    /// Connections at a time. When there are more, the one that has had no request for longest gives way; where all
    /// have one, new ones are closed. Never more than half of the process's limit of open files.
    pub connections_max: usize,
    /// How many of the requests, and of the connections, may be one peer's, in percent: at least one.
    pub peer_percent_max: usize,
    /// How long a connection may have no request.
    pub idle_max: Duration,
    /// How often a connection is pinged, so that a dead peer is noticed.
    pub keepalive_interval: Duration,
    /// How long a ping may stay unanswered.
    pub keepalive_timeout: Duration,
    /// After this long a connection is asked to end once its requests are answered.
    pub connection_age_max: Duration,
    /// So much later it is cut. Long streams must expect that, and be resumed by their caller.
    pub connection_age_grace: Duration,
    /// How long the beginning of an answer may take, unless the caller's `grpc-timeout` is shorter; then
    /// DEADLINE_EXCEEDED.
    pub request_timeout: Duration,
    /// How long nothing may come of a request, and no answer begin; then DEADLINE_EXCEEDED.
    pub stall_timeout: Duration,
    /// How long to go on accepting after the shutdown began, so that balancers notice that health is NOT_SERVING.
    pub drain: Duration,
    /// How long requests may take to end after that; then their connections are cut.
    pub shutdown_deadline: Duration,
}

impl ServeOptions {
    /// Default bounds, for the service of `context`.
    pub fn new(context: &Context) -> Self {
        Self {
            service: context.service.clone(),
            metrics: context.metrics.grpc().clone(),
            readiness: context.readiness.clone(),
            descriptor_set: None,
            health_services: Vec::new(),
            requests_max: 256,
            long_answers: |_| false,
            unread_max: STALL_MAX,
            messages: MessageLimits::default(),
            streams_max: STREAMS_MAX,
            connections_max: 2_048,
            peer_percent_max: peers::PERCENT_MAX,
            idle_max: IDLE_MAX,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            connection_age_max: Duration::from_secs(30 * 60),
            connection_age_grace: Duration::from_secs(5 * 60),
            request_timeout: CALL_MAX,
            stall_timeout: STALL_MAX,
            drain: Duration::ZERO,
            shutdown_deadline: Duration::from_secs(20),
        }
    }

    /// The same, with health of each of these services by its full name, and reflection that shows `descriptor_set`:
    /// theirs. `bytes_max` says how large a message each of their methods takes, by its path.
    pub fn with_services(self, services: &[&str], descriptor_set: Vec<u8>, bytes_max: fn(&str) -> usize) -> Self {
        let health_services = services.iter().map(|name| (*name).to_owned()).collect();
        let messages = MessageLimits { bytes_max, ..self.messages };
        Self { health_services, descriptor_set: Some(descriptor_set), messages, ..self }
    }

    /// The same, with the bounds of a service's configuration.
    pub fn with_common(self, common: &crate::config::Common) -> Self {
        Self {
            requests_max: common.requests_max,
            connections_max: common.connections_max,
            peer_percent_max: common.peer_percent_max,
            drain: common.process.drain,
            shutdown_deadline: common.process.shutdown_deadline,
            ..self
        }
    }
}

/// Serves `routes` on `listener` until `shutdown`, then drains: health is NOT_SERVING at once, after
/// [`ServeOptions::drain`] nothing new is accepted, requests under way are finished, and after
/// [`ServeOptions::shutdown_deadline`] whatever is left is cut; dropping the future cuts everything at once. A stream
/// that never ends by itself should watch `shutdown` too.
///
/// # Errors
/// See [`Error`]. A forced end is logged, not an error.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    options: ServeOptions,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let health = HealthReporter::new();
    set_health(&health, &options, ServingStatus::NotServing).await;
    let unread = Unread::default();
    let ServeOptions { requests_max, peer_percent_max, long_answers, .. } = options;
    let places = Places::new(requests_max, peer_percent_max, long_answers, unread.clone());
    let routes = limited(routes, places);
    let routes = with_health_and_reflection(routes, &health, &options)?;

    let (connections, incoming) = connections::accept(connection_limits(&options), options.metrics.connections.clone());
    let [connections_max, connections_max_of_a_peer] = connections.places_max();
    tracing::info!(
        service = %options.service,
        connections_max,
        connections_max_of_a_peer,
        requests_max = options.requests_max,
        peer_percent_max = options.peer_percent_max,
        "what callers may hold at a time"
    );
    // However this future ends, also when it is dropped, no connection outlives it.
    let _closing = connections.close_on_drop();
    let accepting = connections.clone();
    let _accepting =
        AbortOnDropHandle::new(tokio::spawn(async move { accepting.run(listener, std::future::pending()).await }));

    let stop = async || {
        shutdown.wait().await;
        tokio::time::sleep(options.drain).await;
    };
    let deaf = async {
        stop().await;
        connections.close_deaf().await
    };
    let ServeOptions { request_timeout, stall_timeout, .. } = options;
    let observe = ObserveLayer::new(options.service.clone(), options.metrics.clone(), request_timeout, stall_timeout);
    let server = builder(&options)
        .layer(observe)
        .layer(MapResponseLayer::new(malformed::blamed))
        .layer(RoomLayer::new(options.messages.clone()))
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming).map(Ok::<_, Infallible>), stop());
    let deadline = async {
        shutdown.wait().await;
        tokio::time::sleep(options.drain + options.shutdown_deadline).await;
    };
    tokio::select! {
        ended = server => ended.map_err(|source| Error::Transport { source }),
        never = deaf => match never {},
        never = unread.close_late(options.unread_max) => match never {},
        () = follow_readiness(&health, &options) => Ok(()),
        () = deadline => {
            let cut = connections.close_all();
            tracing::warn!(service = %options.service, connections = cut, "cut what did not end in time");
            Ok(())
        }
    }
}

fn connection_limits(options: &ServeOptions) -> Limits {
    Limits {
        connections_max: options.connections_max,
        peer_percent_max: options.peer_percent_max,
        idle_max: options.idle_max,
        age_max: Some(options.connection_age_max.saturating_add(options.connection_age_grace)),
    }
}

/// No time limit (see [`observe`]) and no forced end of old connections (see [`connections`]) are set here: tonic
/// answers the first with CANCELLED, and does the second without a GOAWAY before it.
fn builder(options: &ServeOptions) -> Server {
    Server::builder()
        .max_concurrent_streams(options.streams_max)
        .max_connection_age(options.connection_age_max)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(options.keepalive_interval))
        .http2_keepalive_timeout(Some(options.keepalive_timeout))
}

fn limited(routes: Routes, places: Places) -> Routes {
    let held = axum::middleware::from_fn_with_state(Arc::new(places), places::hold);
    Routes::from(routes.into_axum_router().layer(held))
}

fn with_health_and_reflection(
    routes: Routes,
    health: &HealthReporter,
    options: &ServeOptions,
) -> Result<Routes, Error> {
    let routes = routes.add_service(HealthServer::new(HealthService::from_health_reporter(health.clone())));
    let Some(descriptors) = options.descriptor_set.as_deref() else { return Ok(routes) };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(descriptors)
    };
    let v1 = reflection().build_v1().map_err(|source| Error::Descriptors { source })?;
    // Older grpcurl knows only this one.
    let v1alpha = reflection().build_v1alpha().map_err(|source| Error::Descriptors { source })?;
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// Never ends.
async fn follow_readiness(health: &HealthReporter, options: &ServeOptions) {
    loop {
        options.readiness.ready().await;
        set_health(health, options, ServingStatus::Serving).await;
        options.readiness.changed_to(false).await;
        set_health(health, options, ServingStatus::NotServing).await;
    }
}

async fn set_health(health: &HealthReporter, options: &ServeOptions, status: ServingStatus) {
    for name in std::iter::once("").chain(options.health_services.iter().map(String::as_str)) {
        health.set_service_status(name, status).await;
    }
}
