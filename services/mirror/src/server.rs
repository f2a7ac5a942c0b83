//! The accept loop: plain HTTP/1.1 to anybody, with limits on what anybody can hold.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rstuf_runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::metrics::Metrics;

/// Bytes of a request line with its headers; longer ones are answered 431. Twice the longest target path, thrice encoded, fits.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after a failed accept: the usual cause, no free file descriptor, passes only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for answers to end that began when the mirror was stopping already.
const LATE_MAX: Duration = Duration::from_secs(1);

/// What one client, or all of them together, may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections open at the same time; further ones wait in the listener's backlog.
    pub(crate) connections_max: usize,
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
/// until the next process may open the port.
pub(crate) async fn serve(listener: TcpListener, app: Router, limits: Limits, metrics: Metrics, shutdown: Shutdown) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(HEAD_BYTES_MAX);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let port = Port { listener, app, limits, metrics, slots };
    let stopped = async {
        shutdown.wait().await;
        sleep(limits.drain).await;
    };

    let running = GracefulShutdown::new();
    tokio::select! {
        () = stopped => {}
        () = port.serve(&protocol, &running) => {}
    }
    let late = GracefulShutdown::new();
    let ended = tokio::select! {
        ended = timeout(limits.shutdown_deadline, running.shutdown()) => ended,
        () = port.serve(protocol.keep_alive(false), &late) => Ok(()),
    };
    drop(port);
    if ended.is_err() {
        tracing::warn!("transfers still running were cut off at shutdown");
    }
    // Whoever is cut off here came when the mirror was not ready any more.
    let _ = timeout(LATE_MAX, late.shutdown()).await;
}

/// Where connections come from, and what serves them.
struct Port {
    listener: TcpListener,
    app: Router,
    limits: Limits,
    metrics: Metrics,
    slots: Arc<Semaphore>,
}

impl Port {
    /// Accepts and serves, for ever.
    async fn serve(&self, protocol: &http1::Builder, graceful: &GracefulShutdown) {
        loop {
            let (stream, slot) = accept(&self.listener, &self.slots).await;
            if let Err(error) = prepare(&stream, self.limits.stall_timeout) {
                tracing::debug!(%error, "connection dropped before its first request");
                continue;
            }
            let service = TowerToHyperService::new(self.app.clone());
            let connection = graceful.watch(protocol.serve_connection(TokioIo::new(stream), service));
            let open = self.metrics.connection_opened();
            tokio::spawn(async move {
                let _held = (slot, open);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended early");
                }
            });
        }
    }
}

/// The next connection together with its slot. A free slot comes first, so that no connection is accepted only to wait.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The kernel itself ends a connection whose client acknowledges nothing, or keeps its window shut, for too long.
fn prepare(stream: &TcpStream, stall_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(stall_timeout.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, millis)?;
    Ok(())
}
