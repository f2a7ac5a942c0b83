//! A peer's share of the requests that are being answered.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tonic::{Status, transport::server::TcpConnectInfo};

use crate::peers::{Peer, Peers};

/// Answers RESOURCE_EXHAUSTED at once where the peer has as many requests under way as one may have.
pub(super) async fn hold(State(peers): State<Arc<Peers>>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    // The peer of a connection that is gone already has no address.
    let Some(address) = address else { return next.run(request).await };
    let peer = Peer::from(address.ip());
    let Ok(_place) = peers.places(peer).try_acquire_owned() else {
        let max = peers.places_max();
        let message = format!(
            "{max} requests of {peer} are being answered, which is the maximum of one peer (requests_max, \
             peer_percent_max): try again later"
        );
        return Status::resource_exhausted(message).into_http::<axum::body::Body>().into_response();
    };
    next.run(request).await
}
