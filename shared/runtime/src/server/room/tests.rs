//! What passes, what waits, and what is refused.
#![allow(clippy::unwrap_used)]
use std::{convert::Infallible, future::poll_fn};

use tokio::sync::{Notify, mpsc};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::Code;

use super::*;

const LARGE: usize = 2 * SMALL_BYTES;
const BYTES_MAX: usize = 2 * LARGE;

fn layer() -> RoomLayer {
    let time_max = Duration::from_secs(60);
    RoomLayer::new(MessageLimits { bytes_max: |_| BYTES_MAX, room_bytes: LARGE as u32, time_max })
}

type Sender = mpsc::UnboundedSender<Bytes>;

fn request() -> (Sender, Request<Body>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = UnboundedReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>);
    (sender, Request::new(Body::new(axum::body::Body::from_stream(frames))))
}

/// A request's body as its method sees it.
async fn incoming(layer: &RoomLayer) -> (Sender, Body) {
    let (sender, request) = request();
    let give = async |request: Request<Body>| Ok::<_, Infallible>(Response::new(request.into_body()));
    let body = layer.layer(tower::service_fn(move |it| Box::pin(give(it)))).call(request).await;
    (sender, body.unwrap().into_body())
}

fn header(length: usize) -> Bytes {
    [&[0][..], &u32::try_from(length).unwrap().to_be_bytes()].concat().into()
}

async fn next(body: &mut Body) -> Result<Bytes, Status> {
    let frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context)).await;
    frame.unwrap().map(|frame| frame.into_data().unwrap())
}

async fn is_waiting(body: &mut Body) -> bool {
    tokio::select! {
        biased;
        _ = next(body) => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_length() {
    let (sender, mut body) = incoming(&layer()).await;
    let header = header(BYTES_MAX + 1);
    sender.send(header.slice(..3)).unwrap();
    next(&mut body).await.unwrap();
    sender.send(header.slice(3..)).unwrap();
    let status = next(&mut body).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("524289 bytes, this method takes at most 524288"), "{status}");
}

#[tokio::test]
async fn messages_pass_as_they_are_wherever_they_are_cut() {
    let sent = [header(0), header(7), vec![1; 7].into(), header(LARGE), vec![2; LARGE].into(), header(1)].concat();
    for piece in [1, 3, 16_384, sent.len()] {
        let (sender, mut body) = incoming(&layer()).await;
        let pieces: Vec<_> = sent.chunks(piece).map(Bytes::copy_from_slice).collect();
        for piece in pieces {
            sender.send(piece.clone()).unwrap();
            assert_eq!(next(&mut body).await.unwrap(), piece);
        }
    }
}

#[tokio::test]
async fn large_messages_wait_for_each_other_and_small_ones_for_none() {
    let layer = layer();
    let (first_sender, mut first) = incoming(&layer).await;
    let (second_sender, mut second) = incoming(&layer).await;
    let (small_sender, mut small) = incoming(&layer).await;
    first_sender.send(header(LARGE)).unwrap();
    next(&mut first).await.unwrap();
    second_sender.send(header(LARGE)).unwrap();
    assert!(is_waiting(&mut second).await);
    small_sender.send(header(SMALL_BYTES)).unwrap();
    next(&mut small).await.unwrap();
    // The next message takes the place of the one before it.
    first_sender.send([vec![1; LARGE].into(), header(1)].concat().into()).unwrap();
    next(&mut first).await.unwrap();
    assert_eq!(next(&mut second).await.unwrap(), header(LARGE));
    // Whoever goes takes nothing along.
    drop(second);
    assert_eq!(layer.room.available_permits(), LARGE);
}

#[tokio::test]
async fn a_message_has_its_room_until_it_is_answered() {
    let (layer, done) = (layer(), Arc::new(Notify::new()));
    let (sender, request) = request();
    let begun = done.clone();
    let slow = tower::service_fn(move |request: Request<Body>| {
        let (begun, mut body) = (begun.clone(), request.into_body());
        Box::pin(async move {
            next(&mut body).await.unwrap();
            drop(body);
            begun.notified().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        })
    });
    sender.send([header(LARGE), vec![1; LARGE].into()].concat().into()).unwrap();
    let mut answer = layer.layer(slow).call(request);
    let (next_sender, mut waiting) = incoming(&layer).await;
    next_sender.send(header(LARGE)).unwrap();
    tokio::select! {
        biased;
        _ = &mut answer => unreachable!("not done"),
        () = std::future::ready(()) => {}
    }
    assert!(is_waiting(&mut waiting).await);
    done.notify_one();
    answer.await.unwrap();
    next(&mut waiting).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_large_message_comes_in_time_or_gives_up_its_room() {
    let layer = layer();
    let (sender, mut body) = incoming(&layer).await;
    sender.send(header(LARGE)).unwrap();
    next(&mut body).await.unwrap();
    sender.send(vec![1; LARGE - 1].into()).unwrap();
    next(&mut body).await.unwrap();
    assert_eq!(next(&mut body).await.unwrap_err().code(), Code::DeadlineExceeded);
    let (other_sender, mut other) = incoming(&layer).await;
    other_sender.send(header(LARGE)).unwrap();
    assert_eq!(next(&mut other).await.unwrap_err().code(), Code::ResourceExhausted, "the first one is there");
    drop((body, other));
    // What came whole is late no more.
    let (sender, mut body) = incoming(&layer).await;
    sender.send(header(LARGE)).unwrap();
    sender.send(vec![1; LARGE].into()).unwrap();
    for _ in 0..2 {
        next(&mut body).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(is_waiting(&mut body).await);
}

/// Whatever was said before, and however little is missing.
#[tokio::test(start_paused = true)]
async fn who_falls_silent_is_given_up() {
    let layer = layer();
    let half = [header(7), vec![1; 6].into()].concat();
    let whole = [&half[..], &[1]].concat();
    for said in [vec![], vec![0], half, whole.clone(), [&whole[..], &[0]].concat()] {
        let (sender, mut body) = incoming(&layer).await;
        if !said.is_empty() {
            sender.send(said.into()).unwrap();
            next(&mut body).await.unwrap();
        }
        // Nobody waits for it.
        tokio::time::advance(Duration::from_secs(600)).await;
        let asked = tokio::time::Instant::now();
        assert_eq!(next(&mut body).await.unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(asked.elapsed().as_secs(), 60);
    }
    // A byte now and then is no message; messages now and then are.
    for (begin, piece, comes) in [(header(9), Bytes::from_static(&[1]), false), (header(0), header(0), true)] {
        let (sender, mut body) = incoming(&layer).await;
        sender.send(begin).unwrap();
        next(&mut body).await.unwrap();
        for _ in 0..3 {
            sender.send(piece.clone()).unwrap();
            next(&mut body).await.unwrap();
            assert!(is_waiting(&mut body).await);
            tokio::time::advance(Duration::from_secs(25)).await;
        }
        sender.send(piece).unwrap();
        next(&mut body).await.unwrap();
        assert_eq!(is_waiting(&mut body).await, comes);
    }
}
