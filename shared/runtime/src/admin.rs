//! The admin port: plain HTTP for scrapers and probes. It shows no secrets and changes nothing.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | 200, OpenMetrics text |
//! | `/livez` | 200 `ok`, or 503 with one loop a line that stands still: that, or no answer, asks for a restart |
//! | `/readyz` | 200 `ok`, or 503 with one reason a line: the process should get no work now; then warnings |
//!
//! What only a new process can mend ends this one. Of the reasons, errors that waiting will not mend come first.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
    serve::Listener,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};
use tokio_util::{sync::DropGuard, task::AbortOnDropHandle};

use crate::{
    ConnectionMetrics, Context, Liveness, Readiness, blocking,
    connections::{self, Connection, Limits},
    peers,
};

/// A few probes and scrapers at a time. A minute is longer than any of them needs one connection for, so requests are
/// not counted here: the oldest connection gives way.
const LIMITS: Limits = Limits {
    connections_max: 64,
    peer_percent_max: peers::PERCENT_MAX,
    idle_max: Duration::from_secs(60),
    age_max: Some(Duration::from_secs(60)),
};

fn routes(context: &Context) -> Router {
    let turn = Turn::default();
    Router::new()
        .route("/metrics", get(async move |State(it): State<Context>| metrics(it, turn).await))
        .route("/livez", get(async |State(it): State<Context>| alive(&it.liveness)))
        .route("/readyz", get(async |State(it): State<Context>| probe(&it.readiness)))
        .with_state(context.clone())
}

/// Serves the admin port until the answer is dropped: longer than the service itself, so that probes see it drain.
///
/// Must be called within a tokio runtime.
pub fn spawn(listener: TcpListener, context: &Context) -> Admin {
    let routes = routes(context);
    let address = listener.local_addr();
    // Counted for nobody: the service's metrics are about its own listener.
    let (connections, incoming) = connections::accept(LIMITS, ConnectionMetrics::default());
    let accepting = connections.clone();
    let tasks = [
        tokio::spawn(async move { accepting.run(listener, std::future::pending()).await }),
        tokio::spawn(async move {
            if let Err(error) = axum::serve(Incoming { incoming, address }, routes).await {
                tracing::error!(%error, "the admin port stopped");
            }
        }),
    ];
    Admin { _tasks: tasks.map(AbortOnDropHandle::new), _closing: connections.close_on_drop() }
}

/// A served admin port; dropping it closes the port.
#[derive(Debug)]
#[must_use = "the admin port is served only until this is dropped"]
pub struct Admin {
    _tasks: [AbortOnDropHandle<()>; 2],
    _closing: DropGuard,
}

/// Accepted connections, as axum takes them.
struct Incoming {
    incoming: mpsc::Receiver<Connection>,
    address: io::Result<SocketAddr>,
}

impl Listener for Incoming {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.incoming.recv().await {
            Some(connection) => {
                let peer = connection.peer();
                (connection, peer)
            }
            // Nobody accepts any more: the port is being closed.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|error| error.kind().into())
    }
}

/// Held while metrics are encoded: one at a time, however many scrapers ask.
type Turn = Arc<Mutex<()>>;

/// Encodes them apart from the threads that answer probes: it takes time, and some metrics are read from disks.
async fn metrics(context: Context, turn: Turn) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let turn = turn.lock_owned().await;
    let encode = move || {
        let text = context.metrics.encode();
        drop(turn);
        text
    };
    match blocking(encode).await.map_err(io::Error::other).and_then(|it| it.map_err(io::Error::other)) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn alive(liveness: &Liveness) -> Response {
    let stalled = liveness.stalled();
    if stalled.is_empty() {
        return "ok\n".into_response();
    }
    let line = |(name, stood): (&str, Duration)| {
        tracing::error!(name, stood_seconds = stood.as_secs(), "this stands still: the process should be restarted");
        format!("the {name} has not gone on for {} s\n", stood.as_secs())
    };
    let lines: String = stalled.into_iter().map(line).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

fn probe(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons();
    let (status, mut lines) = match reasons.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, reasons.iter().map(|it| format!("{it}\n")).collect()),
    };
    lines.extend(readiness.warnings().iter().map(|it| format!("warning: {it}\n")));
    (status, lines).into_response()
}
