//! Accepted connections: how many, how long without a request, how old. All ports share these rules.

mod connection;
mod idle;
mod longest;

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::connection::{Connection, Remote};
use self::idle::{Activity, Idle};
pub use self::idle::{Requests, UnderWay};
pub(crate) use self::longest::{Closer, LongestFirst};
use crate::{
    ConnectionMetrics,
    peers::{Peer, Peers},
    repeat::{Line, Repeated},
};

/// The pause after the system refused to accept, which it does for want of file descriptors: the next try would fail
/// the same way.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection is left alone before it gives way as idle: what it sent has to be read first, and in a burst
/// connections are accepted faster than they are read.
const IDLE_MIN: Duration = Duration::from_millis(100);
/// How often it is logged how many connections were too many.
const LOG_PERIOD: Duration = Duration::from_secs(600);

/// What the callers of one listener may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time; never more than half of the process's limit of open files.
    pub connections_max: usize,
    /// How many of them may be one peer's, in percent.
    pub peer_percent_max: usize,
    /// How long a connection may have no request.
    pub idle_max: Duration,
    /// How long a connection may live, where there is an end to that.
    pub age_max: Option<Duration>,
}

/// The accepting side of a server.
#[derive(Debug, Clone)]
pub struct Connections {
    limits: Limits,
    slots: Arc<Semaphore>,
    peers: Arc<Peers>,
    idle: Idle,
    all: CancellationToken,
    accepted: mpsc::Sender<Connection>,
    too_many: Repeated,
    metrics: ConnectionMetrics,
}

/// The accepting side, to be [run](Connections::run), and where accepted connections come out.
pub fn accept(limits: Limits, metrics: ConnectionMetrics) -> (Connections, mpsc::Receiver<Connection>) {
    let (accepted, incoming) = mpsc::channel(1);
    let files_max = getrlimit(Resource::Nofile).current.and_then(|it| usize::try_from(it).ok());
    let connections_max = limits.connections_max.min(files_max.unwrap_or(usize::MAX) / 2).max(1);
    let connections = Connections {
        limits: Limits { connections_max, ..limits },
        slots: Arc::new(Semaphore::new(connections_max)),
        peers: Arc::new(Peers::share_of(connections_max, limits.peer_percent_max)),
        idle: Idle::default(),
        all: CancellationToken::new(),
        accepted,
        too_many: Repeated::new(LOG_PERIOD),
        metrics,
    };
    (connections, incoming)
}

impl Connections {
    /// How many connections there may be, and how many of one peer.
    pub fn places_max(&self) -> [usize; 2] {
        [self.limits.connections_max, self.peers.places_max()]
    }

    /// Accepts until nobody takes connections any more, or until `stop` and then what waits at the port by then; closes
    /// the listener. Closes meanwhile what has had no request for too long.
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.accept(listener, stop) => {}
            never = self.close_idle(self.limits.idle_max) => match never {}
        }
    }

    async fn accept(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.accepted.closed() => return,
                () = stop.as_mut() => break,
            };
            let taken = match accepted {
                Ok((stream, address)) => self.hand_over(stream, address).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    true
                }
            };
            if !taken {
                return;
            }
        }
        if let Err(error) = self.accept_waiting(listener).await {
            tracing::warn!(%error, "connections that waited at the port are closed unheard");
        }
    }

    /// The system knows of connections that the runtime was not told of yet.
    async fn accept_waiting(&self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            let (stream, address) = match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                accepted => accepted?,
            };
            stream.set_nonblocking(true)?;
            if !self.hand_over(TcpStream::from_std(stream)?, address).await {
                return Ok(());
            }
        }
    }

    /// Gives a connection that finds a slot to whoever takes them, and closes one that finds none. Says whether
    /// connections are taken still.
    async fn hand_over(&self, stream: TcpStream, address: SocketAddr) -> bool {
        let peer = Peer::from(address.ip());
        let slots = tokio::select! {
            slots = self.slots(peer) => slots,
            () = self.accepted.closed() => return false,
        };
        let Some(slots) = slots else { return true };
        self.accepted.send(self.connection(stream, peer, slots)).await.is_ok()
    }

    /// A slot of the peer's own, and one of all peers'.
    async fn slots(&self, peer: Peer) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = self.slot(&self.peers.places(peer), Some(peer)).await?;
        Some([own, self.slot(&self.slots, None).await?])
    }

    /// A free slot; where there is none, the connection `of` that peer, or of any, gives way that has been idle for
    /// longest. None where all are busy: whoever waited for them would keep the next ones waiting too.
    async fn slot(&self, slots: &Arc<Semaphore>, of: Option<Peer>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            slot = slots.clone().acquire_owned() => return slot.ok(),
            found = self.close_longest_idle(of) => match found {
                true => self.too_many(true, of),
                false => {
                    self.too_many(false, of);
                    self.metrics.refused.inc();
                    return None;
                }
            }
        }
        slots.clone().acquire_owned().await.ok()
    }

    /// Waits until the longest idle connection had its time to speak, and closes it. Says whether there was one. One
    /// `of` a peer that has its share gives way at once: others would wait too.
    async fn close_longest_idle(&self, of: Option<Peer>) -> bool {
        while let Some(since) = self.idle.longest(of) {
            if of.is_none() {
                tokio::time::sleep_until(since + IDLE_MIN).await;
            }
            // It may have spoken meanwhile: then another one is the longest idle.
            if self.idle.close_longest(since, of) {
                self.metrics.closed_idle.inc();
                return true;
            }
        }
        false
    }

    /// Closes, for ever, what has had no request for `max`.
    async fn close_idle(&self, max: Duration) -> Infallible {
        loop {
            while Instant::now().checked_sub(max).is_some_and(|since| self.idle.close_longest(since, None)) {
                self.metrics.closed_idle.inc();
            }
            // Whoever becomes idle from now on is later than that.
            let since = self.idle.longest(None).unwrap_or_else(Instant::now);
            tokio::time::sleep_until(since + max).await;
        }
    }

    /// Closes, for ever, what has no request, when those that can have been told to end: the others do not listen.
    pub(crate) async fn close_deaf(&self) -> Infallible {
        tokio::time::sleep(IDLE_MIN).await;
        self.close_idle(IDLE_MIN).await
    }

    /// Each of these is logged for itself: that one peer has too many says nothing of all.
    fn too_many(&self, idle_give_way: bool, of: Option<Peer>) {
        let what = match (of.is_some(), idle_give_way) {
            (false, true) => "idle ones give way to new ones",
            (false, false) => "all have requests under way, so new ones are closed",
            (true, true) => "its idle ones give way to its new ones",
            (true, false) => "all of it have requests under way, so its new ones are closed",
        };
        let max = if of.is_some() { self.peers.places_max() } else { self.limits.connections_max };
        let log = |line: Line<'_>| match &of {
            Some(peer) => {
                let settings = "connections_max, peer_percent_max";
                let (what, times) = (line.text, line.times);
                tracing::warn!(max, settings, %peer, times, what, "too many connections of one peer");
            }
            None => {
                let settings = "connections_max";
                tracing::warn!(max, settings, times = line.times, what = line.text, "too many connections");
            }
        };
        self.too_many.happened(what, log);
    }

    fn connection(&self, stream: TcpStream, peer: Peer, slots: [OwnedSemaphorePermit; 2]) -> Connection {
        // Small answers should not wait for acknowledgements; a socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let close = self.all.child_token();
        let activity = Activity::new(self.idle.clone(), peer, Closer::new(close.clone()));
        let cut = self.limits.age_max.map(|age| Instant::now() + age);
        Connection::new(stream, activity, close, cut, self.metrics.clone(), slots)
    }

    /// Closes all connections when the answer is dropped.
    pub fn close_on_drop(&self) -> DropGuard {
        self.all.clone().drop_guard()
    }

    /// Closes all connections, and says how many there were.
    pub(crate) fn close_all(&self) -> usize {
        self.all.cancel();
        self.limits.connections_max - self.slots.available_permits()
    }
}
