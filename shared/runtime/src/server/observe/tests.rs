use std::convert::Infallible;

use http_body_util::BodyExt as _;
use tokio_stream::StreamExt as _;
use tower::{ServiceExt as _, service_fn};

use super::*;
use crate::{CALL_MAX, Metrics, STALL_MAX};

/// What becomes of a request that comes in so many pieces, so far apart, and is answered at its end. The clock moves
/// only while everything waits.
async fn answer(pieces: u32, apart: Duration) -> (Duration, Option<Code>) {
    let whole = service_fn(async |request: Request<Body>| {
        request.into_body().collect().await.unwrap();
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let metrics = Metrics::new("observed");
    let layer = ObserveLayer::new("observed".into(), metrics.grpc().clone(), CALL_MAX, STALL_MAX);
    let pieces = tokio_stream::iter(0..pieces).then(move |_| async move {
        tokio::time::sleep(apart).await;
        Ok::<_, Status>(Frame::data(Bytes::from_static(b"piece")))
    });
    let request = Request::new(Body::new(http_body_util::StreamBody::new(pieces)));
    let begun = Instant::now();
    let response = layer.layer(whole).oneshot(request).await.unwrap();
    (begun.elapsed(), code(response.headers()))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cut_when_it_stands_still_not_when_it_is_large() {
    let slow = STALL_MAX - Duration::from_secs(1);
    assert_eq!(answer(20, slow).await, (slow * 20, None), "it moves all the time");
    let late = Some(Code::DeadlineExceeded);
    assert_eq!(answer(20, STALL_MAX + Duration::from_secs(1)).await, (STALL_MAX, late), "it stands still");
    assert_eq!(answer(1_000, slow).await, (CALL_MAX, late), "nobody holds a place for ever");
}
