//! Places for requests: so many at a time, and a share of them for one peer. A request has its place until its answer
//! has gone.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, transport::server::TcpConnectInfo};

use super::answers::{Answer, Caller, Unread};
use crate::{
    connections::Closer,
    peers::{Peer, Peers},
};

/// How long an answer that is not read is left alone before it gives way to whoever finds no place.
const UNREAD_MIN: Duration = Duration::from_secs(5);
/// How long the place of an answer that gives way is waited for: its connection has to be closed.
const GIVING_WAY_MAX: Duration = Duration::from_secs(1);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    all: Arc<Semaphore>,
    peers: Peers,
    unread: Unread,
    /// Whether the answer of a method, by its path, takes any time.
    long_answers: fn(&str) -> bool,
}

/// One of all, and one of the peer's.
type Place = [Option<OwnedSemaphorePermit>; 2];

impl Places {
    /// A peer holds at most a share of them. `long_answers` says whose requests have a place until their answer begins.
    pub(super) fn new(max: usize, peer_percent_max: usize, long_answers: fn(&str) -> bool, unread: Unread) -> Self {
        let (all, peers) = (Arc::new(Semaphore::new(max)), Peers::share_of(max, peer_percent_max));
        Self { max, all, peers, unread, long_answers }
    }

    async fn take(&self, peer: Option<Peer>) -> Result<Place, Status> {
        let full = |what: String| Status::resource_exhausted(format!("{what}: try again later"));
        let own = match peer {
            None => None,
            Some(peer) => {
                let own = self.place(self.peers.places(peer), Some(peer)).await;
                let what = || {
                    format!(
                        "{} requests of {peer} are being answered, which is the maximum of one peer (requests_max, \
                         peer_percent_max)",
                        self.peers.places_max()
                    )
                };
                Some(own.ok_or_else(|| full(what()))?)
            }
        };
        let any = self.place(self.all.clone(), None).await;
        Ok([
            own,
            Some(any.ok_or_else(|| full(format!("{} requests are being answered, which is requests_max", self.max)))?),
        ])
    }

    /// A free place; where there is none, the answer `of` that peer, or of any, gives way that waits longest for its
    /// caller to read.
    async fn place(&self, places: Arc<Semaphore>, of: Option<Peer>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Some(place);
        }
        if !self.unread.close_longest(UNREAD_MIN, of) {
            return None;
        }
        tokio::time::timeout(GIVING_WAY_MAX, places.acquire_owned()).await.ok()?.ok()
    }
}

/// Answers RESOURCE_EXHAUSTED at once where there is no place.
pub(super) async fn hold(State(places): State<Arc<Places>>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    // The peer of a connection that is gone already has no address.
    let peer = address.map(|address| Peer::from(address.ip()));
    let closer = request.extensions().get::<Closer>().cloned();
    let counts_to_its_end = !(places.long_answers)(request.uri().path());
    let place = match places.take(peer).await {
        Ok(place) => place,
        Err(full) => return full.into_http::<Body>().into_response(),
    };
    let answer = next.run(request).await;
    let place = if counts_to_its_end { place } else { [None, None] };
    let caller = peer.zip(closer).map(|(peer, closer)| Caller { peer, closer });
    answer.map(|body| Body::new(Answer::new(body, places.unread.clone(), caller, place)))
}
