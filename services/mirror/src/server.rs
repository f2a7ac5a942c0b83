//! The accept loop: plain HTTP/1.1 to anybody, with limits on what anybody can hold.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rstuf_runtime::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    metrics::Metrics,
    routes::Site,
    wire::{Parts, Wire},
};

/// Bytes of a request line with its headers; longer ones are answered 431. Twice the longest target path, thrice
/// encoded, fits.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Pause after a failed accept: the usual cause, no free file descriptor, passes only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for a connection without a request to send its first one, when it is told to end.
const UNHEARD_MAX: Duration = Duration::from_secs(1);
/// Time for answers to end that began when the mirror was stopping already.
const LATE_MAX: Duration = Duration::from_secs(2);

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
/// until the next process may open the port. What was accepted is heard before it is closed; what arrives between the
/// last accept and the closing of the port, the system closes.
pub(crate) async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    limits: Limits,
    metrics: Metrics,
    shutdown: Shutdown,
) {
    let mut protocol = http1::Builder::new();
    // Vectored: the connection must be given the places of bytes as they are.
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .writev(true);
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let port = Port { site, limits, metrics, slots };
    let stopped = async {
        shutdown.wait().await;
        sleep(limits.drain).await;
    };

    let running = Crowd::default();
    tokio::select! {
        () = stopped => {}
        () = port.serve(&listener, &protocol, &running) => {}
    }
    let late = Crowd::default();
    protocol.keep_alive(false);
    let ended = tokio::select! {
        ended = timeout(limits.shutdown_deadline, running.end()) => ended,
        () = port.serve(&listener, &protocol, &late) => Ok(()),
    };
    if let Err(error) = port.close(listener, &protocol, &late) {
        tracing::warn!(%error, "connections that waited at the port are closed unheard");
    }
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
    limits: Limits,
    metrics: Metrics,
    slots: Arc<Semaphore>,
}

impl Port {
    /// Accepts and serves, for ever.
    async fn serve(&self, listener: &TcpListener, protocol: &http1::Builder, crowd: &Crowd) {
        loop {
            let (stream, slot) = accept(listener, &self.slots).await;
            self.spawn(protocol, crowd, stream, slot);
        }
    }

    /// Closes the port, and serves what waits at it: the system knows of connections that the runtime was not told of
    /// yet.
    fn close(&self, listener: TcpListener, protocol: &http1::Builder, crowd: &Crowd) -> io::Result<()> {
        let listener = listener.into_std()?;
        while let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            let (stream, _) = match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                accepted => accepted?,
            };
            stream.set_nonblocking(true)?;
            self.spawn(protocol, crowd, TcpStream::from_std(stream)?, slot);
        }
        Ok(())
    }

    fn spawn(&self, protocol: &http1::Builder, crowd: &Crowd, stream: TcpStream, slot: OwnedSemaphorePermit) {
        if let Err(error) = prepare(&stream, self.limits.stall_timeout) {
            tracing::debug!(%error, "connection dropped before its first request");
            return;
        }
        let heard = watch::Sender::new(false);
        let mut first = heard.subscribe();
        let (site, parts) = (self.site.clone(), Parts::default());
        let wire = Wire::new(stream, parts.clone());
        let service = service_fn(move |request| {
            if !*heard.borrow() {
                heard.send_replace(true);
            }
            let (site, parts) = (site.clone(), parts.clone());
            async move { Ok::<_, Infallible>(site.answer(&request, &parts).await) }
        });
        let mut connection = Box::pin(protocol.serve_connection(TokioIo::new(wire), service));
        let (open, ending) = (self.metrics.connection_opened(), crowd.ending.clone());
        crowd.tasks.spawn(async move {
            let _held = (slot, open);
            let told = async {
                ending.cancelled().await;
                // hyper would close it unheard.
                let _ = timeout(UNHEARD_MAX, first.wait_for(|heard| *heard)).await;
            };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = told => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended early");
            }
        });
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
