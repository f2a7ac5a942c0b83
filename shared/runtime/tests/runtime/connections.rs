//! How many connections a server keeps, and which.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tonic::Code;

use crate::common::{Served, call, until, within};

const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);

/// A connection that says this much, and then nothing.
async fn idle(served: &Served, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    // It may be closed already.
    let _ = stream.write_all(first).await;
    stream
}

/// A connection of another peer.
async fn from(served: &Served, address: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(served.address).await.unwrap()
}

/// How many bytes come until the other side closes the connection.
async fn read_to_end(mut stream: TcpStream) -> usize {
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer.len()
}

/// How often a counter of connections counted.
fn counted(served: &Served, name: &str) -> u64 {
    let text = served.context.metrics.encode().unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("rstuf_connections_{name}_total")));
    line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_others_out() {
    rstuf_runtime::harden().unwrap();
    for first in [b"", PREFACE_AND_SETTINGS] {
        let served = Served::start("besieged", |options| {
            options.connections_max = 100;
            options.idle_max = NEVER;
        })
        .await;
        served.open();
        let mut siege = Vec::new();
        for _ in 0..2_600 {
            siege.push(idle(&served, first).await);
            assert!(served.connections() <= 100);
        }
        let mut client = served.client();
        for _ in 0..10 {
            within(call(&mut client)).await.unwrap();
        }
        assert!(counted(&served, "closed_idle") > 1_000);
        assert_eq!(counted(&served, "refused"), 0);
        // Nor do they keep the server from stopping: none of them has been closed by its own side.
        drop(client);
        served.stop().await;
        drop(siege);
    }
}

/// A new connection never waits for those that are at work, and never ends them; and no peer takes more places than its
/// share.
#[tokio::test(flavor = "multi_thread")]
async fn where_all_of_a_peer_have_requests_its_new_connections_are_closed_at_once() {
    const PLACES: usize = 8;
    let mut served = Served::start("busy", |options| {
        options.connections_max = 4 * PLACES;
        options.peer_percent_max = 25;
    })
    .await;
    let mut calls = JoinSet::new();
    for _ in 0..PLACES {
        let mut client = served.client();
        calls.spawn(async move { call(&mut client).await });
        within(served.seen.recv()).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(read_to_end(idle(&served, PREFACE_AND_SETTINGS).await).await, 0);
    }
    // The other places are kept for others.
    let mut other = from(&served, [127, 0, 0, 2]).await;
    other.write_all(PREFACE_AND_SETTINGS).await.unwrap();
    assert!(within(other.read(&mut [0; 64])).await.unwrap() > 0);
    assert_eq!((counted(&served, "refused"), counted(&served, "closed_idle")), (3, 0));
    served.open();
    within(calls.join_all()).await.into_iter().for_each(|answer| answer.unwrap());
    within(call(&mut served.client())).await.unwrap();
    served.stop().await;
}

/// However much of HTTP/2 it has spoken, and whether it ever had a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed_and_one_with_a_request_is_not() {
    let mut served = Served::start("patient", |options| options.idle_max = Duration::from_millis(500)).await;
    let mut busy = served.client();
    let waiting = tokio::spawn(async move { call(&mut busy).await });
    within(served.seen.recv()).await.unwrap();
    for first in [b"", &b"PRI * HTTP/2"[..], PREFACE_AND_SETTINGS] {
        read_to_end(idle(&served, first).await).await;
    }
    assert_eq!((served.connections(), counted(&served, "closed_idle")), (1, 3));
    served.open();
    within(waiting).await.unwrap().unwrap();
    until(|| served.connections() == 0).await;
    // Whoever was closed connects again.
    let mut client = served.client();
    for closed in [4, 5] {
        // It may not have noticed yet.
        within(async { while call(&mut client).await.is_err() {} }).await;
        until(|| served.connections() == 0).await;
        assert_eq!(counted(&served, "closed_idle"), closed);
    }
    served.stop().await;
}

#[tokio::test]
async fn an_old_connection_is_cut_after_its_grace() {
    let mut served = Served::start("forgetful", |options| {
        options.connection_age_max = Duration::from_millis(50);
        options.connection_age_grace = Duration::from_millis(50);
    })
    .await;
    let mut client = served.client();
    let waiting = tokio::spawn(async move { call(&mut client).await });
    within(served.seen.recv()).await.unwrap();
    // Nobody opens the gate: only the cut ends this call.
    let cut = within(waiting).await.unwrap().unwrap_err();
    assert!(matches!(cut.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{cut:?}");
    served.stop().await;
}
