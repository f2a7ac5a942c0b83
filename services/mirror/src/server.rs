//! Plain HTTP/1.1 to anybody, with limits on what anybody can hold.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rstuf_runtime::{
    ConnectionMetrics, Shutdown,
    connections::{self, Connection},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use crate::{
    routes::Site,
    wire::{Answers, Wire},
};

/// Bytes of a request line with its headers; longer ones are answered 431. Twice the longest target path, thrice
/// encoded, fits.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for a connection without a request to send its first one, when it is told to end.
const UNHEARD_MAX: Duration = Duration::from_secs(1);
/// Time for answers to end that began when the mirror was stopping already.
const LATE_MAX: Duration = Duration::from_secs(2);

/// What one client, or all of them together, may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections open at the same time.
    pub(crate) connections_max: usize,
    /// How much of them one client may hold, in percent.
    pub(crate) peer_percent_max: usize,
    /// Time for a request's head to arrive, and for an idle connection to send the next one.
    pub(crate) header_timeout: Duration,
    /// Time that a client may take no byte of the answer.
    pub(crate) stall_timeout: Duration,
    /// At a shutdown, time to go on accepting.
    pub(crate) drain: Duration,
    /// At a shutdown, time for running answers to end.
    pub(crate) shutdown_deadline: Duration,
}

/// Serves until `shutdown` and for the drain time after it, then lets running answers finish for a bounded time.
///
/// Meanwhile new connections are served too, one request each: one slow client must not close the mirror to all others
/// until the next process may open the port. What was accepted is heard before it is closed; what arrives between the
/// last accept and the closing of the port, the system closes.
pub(crate) async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    limits: Limits,
    metrics: ConnectionMetrics,
    shutdown: Shutdown,
) {
    let mut protocol = http1::Builder::new();
    // Vectored: the connection must be given the places of bytes as they are. Half closed: whoever has asked may have
    // no more to say.
    protocol.max_buf_size(HEAD_BYTES_MAX).writev(true).half_close(true);
    let held = connections::Limits {
        connections_max: limits.connections_max,
        peer_percent_max: limits.peer_percent_max,
        // A connection has no request until the head is there. hyper's own time for a head would begin before the last
        // answer was sent.
        idle_max: limits.header_timeout,
        // A download takes the time that it takes.
        age_max: None,
    };
    let (accepting, incoming) = connections::accept(held, metrics);
    // However this future ends, also when it is dropped, no connection outlives it.
    let _closing = accepting.close_on_drop();
    let closed = CancellationToken::new();
    let stop = closed.clone().cancelled_owned();
    let _accepting = AbortOnDropHandle::new(tokio::spawn(async move { accepting.run(listener, stop).await }));
    let mut port = Port { site, stall_timeout: limits.stall_timeout, incoming };
    let stopped = async {
        shutdown.wait().await;
        sleep(limits.drain).await;
    };

    let running = Crowd::default();
    tokio::select! {
        () = stopped => {}
        () = port.serve(&protocol, &running) => {}
    }
    let late = Crowd::default();
    protocol.keep_alive(false);
    let ended = tokio::select! {
        ended = timeout(limits.shutdown_deadline, running.end()) => ended,
        () = port.serve(&protocol, &late) => Ok(()),
    };
    closed.cancel();
    port.serve(&protocol, &late).await;
    if ended.is_err() {
        tracing::warn!("transfers still running were cut off at shutdown");
    }
    // Whoever is cut off here came when the mirror was not ready any more.
    let _ = timeout(LATE_MAX, late.end()).await;
}

/// Connections that are ended together.
#[derive(Default)]
struct Crowd {
    ending: CancellationToken,
    tasks: TaskTracker,
}

impl Crowd {
    /// Tells them to end, and waits until they have.
    async fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What serves connections.
struct Port {
    site: Arc<Site>,
    stall_timeout: Duration,
    incoming: mpsc::Receiver<Connection>,
}

impl Port {
    /// Serves what is accepted, until nothing is any more.
    async fn serve(&mut self, protocol: &http1::Builder, crowd: &Crowd) {
        while let Some(connection) = self.incoming.recv().await {
            self.spawn(protocol, crowd, connection);
        }
    }

    fn spawn(&self, protocol: &http1::Builder, crowd: &Crowd, connection: Connection) {
        if let Err(error) = limit_stalls(&connection, self.stall_timeout) {
            tracing::debug!(%error, "connection dropped before its first request");
            return;
        }
        let heard = watch::Sender::new(false);
        let mut first = heard.subscribe();
        let (site, answers, requests) = (self.site.clone(), Answers::default(), connection.requests());
        let closed = connection.closed();
        let wire = Wire::new(connection, answers.clone());
        let service = service_fn(move |request| {
            if !*heard.borrow() {
                heard.send_replace(true);
            }
            let (site, answers, under_way) = (site.clone(), answers.clone(), requests.begin());
            async move { Ok::<_, Infallible>(site.answer(&request, under_way, &answers).await) }
        });
        let mut connection = Box::pin(protocol.serve_connection(TokioIo::new(wire), service));
        let ending = crowd.ending.clone();
        crowd.tasks.spawn(async move {
            let told = async {
                ending.cancelled().await;
                // hyper would close it unheard.
                let _ = timeout(UNHEARD_MAX, first.wait_for(|heard| *heard)).await;
            };
            let served = async {
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = told => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            tokio::select! {
                ended = served => if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended early");
                },
                // While an answer is looked for, hyper neither reads nor writes.
                () = closed => {}
            }
        });
    }
}

/// The kernel itself ends a connection whose client acknowledges nothing, or keeps its window shut, for too long.
fn limit_stalls(connection: &Connection, stall_timeout: Duration) -> io::Result<()> {
    let millis = u32::try_from(stall_timeout.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(connection.stream(), millis)?)
}
