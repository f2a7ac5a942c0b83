//! One accepted connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::idle::{Activity, Requests};
use crate::ConnectionMetrics;

/// It fails, which closes it, when it is told to or is too old.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    activity: Activity,
    close: CancellationToken,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    age: Option<Pin<Box<Sleep>>>,
    metrics: ConnectionMetrics,
    _slots: [OwnedSemaphorePermit; 2],
}

impl Connection {
    /// Closed by `close`, and at `cut`, if there is a time for that.
    pub(super) fn new(
        stream: TcpStream,
        activity: Activity,
        close: CancellationToken,
        cut: Option<Instant>,
        metrics: ConnectionMetrics,
        slots: [OwnedSemaphorePermit; 2],
    ) -> Self {
        metrics.open.inc();
        let closed = Box::pin(close.clone().cancelled_owned());
        let age = cut.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { stream, activity, close, closed, age, metrics, _slots: slots }
    }

    /// Who is on the other side; unspecified where the connection is gone already.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// For what the connection cannot do itself. What is waited for on it does not end with the connection's time.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Ready when its [stream](Self::stream) may take bytes.
    ///
    /// # Errors
    /// When the connection was closed, or its time is over.
    pub fn poll_write_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_limits(context) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => self.stream.poll_write_ready(context),
        }
    }

    /// Waits until it is closed by this side, for whoever neither reads nor writes meanwhile.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.close.clone().cancelled_owned()
    }

    /// For whoever counts its requests.
    pub fn requests(&self) -> Requests {
        self.activity.requests()
    }

    /// Pending, with the task to be woken, for as long as the connection may live.
    fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let reason = if self.closed.as_mut().poll(context).is_ready() {
            "closed by the server"
        } else if self.age.as_mut().is_some_and(|age| age.as_mut().poll(context).is_ready()) {
            "too old"
        } else {
            return Poll::Pending;
        };
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, reason))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.open.dec();
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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

/// The other side of a connection, in the extensions of its requests.
#[derive(Debug, Clone)]
pub struct Remote {
    pub(crate) address: TcpConnectInfo,
    pub(crate) requests: Requests,
}

impl Connected for Connection {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        Remote { address: self.stream.connect_info(), requests: self.activity.requests() }
    }
}
