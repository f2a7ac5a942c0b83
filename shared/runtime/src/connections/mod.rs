//! Accepted connections: how many, how long silent, how old.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::GrpcMetrics;

/// The pause after the system refused to accept, which it does for want of file descriptors: the next try would fail
/// the same way.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection is left alone before it gives way as silent: what it sent has to be read first, and in a burst
/// connections are accepted faster than they are read.
const SILENT_MIN: Duration = Duration::from_millis(100);

/// What the callers of one listener may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time; never more than half of the process's limit of open files.
    pub(crate) connections_max: usize,
    /// A connection that has sent so many bytes is not silent any more.
    pub(crate) spoken_bytes: usize,
    /// How long a connection may stay silent.
    pub(crate) silent_max: Duration,
    /// How long a connection may live.
    pub(crate) age_max: Duration,
}

/// The accepting side of a server.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    limits: Limits,
    slots: Arc<Semaphore>,
    silent: Arc<Mutex<Silent>>,
    all: CancellationToken,
    accepted: mpsc::Sender<Connection>,
    metrics: GrpcMetrics,
}

/// Connections that have not spoken, in the order of their arrival.
type Silent = BTreeMap<u64, SilentConnection>;

#[derive(Debug)]
struct SilentConnection {
    since: Instant,
    close: CancellationToken,
}

/// The accepting side, to be [run](Connections::run), and where accepted connections come out.
pub(crate) fn accept(limits: Limits, metrics: GrpcMetrics) -> (Connections, mpsc::Receiver<Connection>) {
    let (accepted, incoming) = mpsc::channel(1);
    let files_max = getrlimit(Resource::Nofile).current.and_then(|it| usize::try_from(it).ok());
    let connections_max = limits.connections_max.min(files_max.unwrap_or(usize::MAX) / 2).max(1);
    let connections = Connections {
        limits: Limits { connections_max, ..limits },
        slots: Arc::new(Semaphore::new(connections_max)),
        silent: Arc::default(),
        all: CancellationToken::new(),
        accepted,
        metrics,
    };
    (connections, incoming)
}

impl Connections {
    /// Accepts until nobody takes connections any more, then closes the listener.
    pub(crate) async fn run(&self, listener: TcpListener) {
        let mut id = 0;
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream,
                () = self.accepted.closed() => return,
            };
            let Ok((stream, _)) = stream.inspect_err(|error| tracing::warn!(%error, "cannot accept a connection"))
            else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Some(slot) = self.slot().await else { return };
            id += 1;
            if self.accepted.send(self.connection(id, stream, slot)).await.is_err() {
                return;
            }
        }
    }

    /// A free slot; where there is none, the oldest silent connection gives way. Where all have spoken, the new one waits
    /// until one ends: dead ones do when they have not answered a ping.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            slot = self.slots.clone().acquire_owned() => return slot.ok(),
            () = self.accepted.closed() => return None,
            () = self.close_oldest_silent() => {}
        }
        tokio::select! {
            slot = self.slots.clone().acquire_owned() => slot.ok(),
            () = self.accepted.closed() => None,
        }
    }

    /// Waits until the oldest silent connection had its time to speak, and closes it; for ever where there is none.
    async fn close_oldest_silent(&self) {
        loop {
            let oldest = lock(&self.silent).first_key_value().map(|(id, it)| (*id, it.since + SILENT_MIN));
            let Some((id, until)) = oldest else { return std::future::pending().await };
            tokio::time::sleep_until(until).await;
            // It may have spoken meanwhile: then the next one is the oldest.
            if let Some(silent) = lock(&self.silent).remove(&id) {
                return silent.close.cancel();
            }
        }
    }

    fn connection(&self, id: u64, stream: TcpStream, slot: OwnedSemaphorePermit) -> Connection {
        // Small answers should not wait for acknowledgements; a socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let close = self.all.child_token();
        let now = Instant::now();
        lock(&self.silent).insert(id, SilentConnection { since: now, close: close.clone() });
        self.metrics.connections.inc();
        Connection {
            stream,
            id,
            silent: Some(self.silent.clone()),
            bytes_left: self.limits.spoken_bytes,
            closed: Box::pin(close.cancelled_owned()),
            limit: Box::pin(tokio::time::sleep_until(now + self.limits.silent_max)),
            cut: now + self.limits.age_max,
            metrics: self.metrics.clone(),
            _slot: slot,
        }
    }

    /// Closes the connections that have not spoken yet.
    pub(crate) fn close_silent(&self) {
        std::mem::take(&mut *lock(&self.silent)).into_values().for_each(|it| it.close.cancel());
    }

    /// Closes all connections when the answer is dropped.
    pub(crate) fn close_on_drop(&self) -> DropGuard {
        self.all.clone().drop_guard()
    }

    /// Closes all connections, and says how many there were.
    pub(crate) fn close_all(&self) -> usize {
        self.all.cancel();
        self.limits.connections_max - self.slots.available_permits()
    }
}

fn lock(silent: &Mutex<Silent>) -> MutexGuard<'_, Silent> {
    silent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One accepted connection. It fails, which closes it, when it is told to, stays silent, or is too old.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    id: u64,
    /// Where this connection is listed for as long as it has not spoken.
    silent: Option<Arc<Mutex<Silent>>>,
    /// Bytes that it still has to send until it has spoken.
    bytes_left: usize,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    limit: Pin<Box<Sleep>>,
    cut: Instant,
    metrics: GrpcMetrics,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Who is on the other side; unspecified where the connection is gone already.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Pending, with the task to be woken, for as long as the connection may live.
    fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let reason = if self.closed.as_mut().poll(context).is_ready() {
            "closed by the server"
        } else if self.limit.as_mut().poll(context).is_ready() {
            "silent for too long, or too old"
        } else {
            return Poll::Pending;
        };
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, reason))
    }

    fn spoke(&mut self) {
        if let Some(silent) = self.silent.take() {
            lock(&silent).remove(&self.id);
            self.limit.as_mut().reset(self.cut);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
        if let Some(silent) = self.silent.take() {
            lock(&silent).remove(&self.id);
            self.metrics.connections_refused.inc();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_limits(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.silent.is_some() {
            self.bytes_left = self.bytes_left.saturating_sub(buffer.filled().len() - before);
            if self.bytes_left == 0 {
                self.spoke();
                // The new limit has to be polled once to be woken for.
                let _ = self.limit.as_mut().poll(context);
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_limits(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(error) = self.poll_limits(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
