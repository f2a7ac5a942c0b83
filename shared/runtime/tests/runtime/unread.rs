//! Answers that nobody reads.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use http_body_util::BodyExt as _;
use rstuf_runtime::{ServeOptions, serve};
use tokio::time::Instant;
use tonic::{Code, body::Body, service::Routes, transport::Endpoint};
use tower::ServiceExt as _;

use crate::common::{context, port, within};

/// Far more than what comes on a stream although nobody reads it.
const LARGE_BYTES: usize = 1 << 20;
const WINDOW_BYTES: u32 = 65_535;

async fn start(adjust: impl FnOnce(&mut ServeOptions)) -> SocketAddr {
    let (context, (listener, address)) = (context("unread"), port().await);
    let mut options = ServeOptions { long_answers: |path| path == "/long", ..ServeOptions::new(&context) };
    adjust(&mut options);
    let routes = Routes::from(Router::new().fallback(async || vec![7_u8; LARGE_BYTES]));
    tokio::spawn(serve(listener, routes, options, context.shutdown.clone()));
    address
}

/// A call by a machine of its own, and whatever of its answer nobody read yet.
async fn ask(address: SocketAddr, peer: u8, path: &str) -> Result<Body, Code> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.local_address(Some([127, 0, 0, peer].into())).initial_stream_window_size(WINDOW_BYTES);
    let request = http::Request::post(format!("http://server{path}")).body(Body::empty()).unwrap();
    let answer = within(endpoint.connect_lazy().oneshot(request)).await.unwrap();
    match answer.headers().get("grpc-status") {
        None => Ok(answer.into_body()),
        Some(status) => Err(Code::from_bytes(status.as_bytes())),
    }
}

/// Whether the whole answer comes.
async fn read(answer: Body) -> bool {
    within(answer.collect()).await.is_ok_and(|whole| whole.to_bytes() == vec![7; LARGE_BYTES])
}

/// The clock of these tests moves only while everything waits.
#[tokio::test(start_paused = true)]
async fn an_answer_has_its_place_until_it_was_read_and_gives_way() {
    let address = start(|options| options.requests_max = 4).await;
    let mut unread = Vec::new();
    for peer in [1, 1, 2, 2] {
        unread.push(ask(address, peer, "/").await.unwrap());
    }
    assert_eq!(ask(address, 3, "/").await.err(), Some(Code::ResourceExhausted), "all places are taken");
    assert!(read(unread.pop().unwrap()).await);
    assert!(read(ask(address, 3, "/").await.unwrap()).await, "who reads makes room");
    unread.push(ask(address, 3, "/").await.unwrap());

    let begun = Instant::now();
    let honest = async {
        loop {
            match ask(address, 4, "/").await {
                Ok(answer) => return answer,
                Err(code) => assert_eq!(code, Code::ResourceExhausted),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(read(within(honest).await).await);
    assert!(begun.elapsed() > Duration::from_secs(1), "it is left alone for a while");
    let mut whole = Vec::new();
    for answer in unread {
        whole.push(read(answer).await);
    }
    assert_eq!(whole, [false, true, true, true], "one gave way, that which waited longest");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_never_read_is_cut() {
    let unread_max = Duration::from_secs(8);
    let address = start(|options| options.unread_max = unread_max).await;
    let [slow, never, long] = [ask(address, 1, "/").await, ask(address, 1, "/").await, ask(address, 1, "/long").await];
    let (mut slow, [never, long]) = (slow.unwrap(), [never, long].map(Result::unwrap));
    let (mut bytes, begun) = (0, Instant::now());
    while let Some(piece) = within(slow.frame()).await {
        let read = piece.unwrap().into_data().unwrap().len();
        bytes += read;
        tokio::time::sleep(unread_max * read as u32 / WINDOW_BYTES / 4).await;
    }
    assert_eq!(bytes, LARGE_BYTES, "whoever reads slowly gets all of it");
    assert!(begun.elapsed() > unread_max * 2);
    assert!(!read(never).await && !read(long).await, "also where it takes no place");
}
