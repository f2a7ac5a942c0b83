//! How many connections a server keeps, and which.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

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

/// Waits until this holds, or ten thousand turns are over, while the clock of the test stands.
async fn turns_until(mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() && begun.elapsed() < Duration::from_secs(20) {
        tokio::task::yield_now().await;
    }
    assert!(condition());
}

/// Unless it is said otherwise, a connection has ten seconds for its first request.
#[tokio::test(start_paused = true)]
async fn ten_seconds_without_a_request_are_enough() {
    let served = Served::start("default", |_| ()).await;
    let _idle = idle(&served, PREFACE_AND_SETTINGS).await;
    turns_until(|| served.connections() == 1).await;
    tokio::time::advance(Duration::from_millis(9_900)).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(served.connections(), 1);
    tokio::time::advance(Duration::from_millis(200)).await;
    turns_until(|| served.connections() == 0).await;
    assert_eq!(counted(&served, "closed_idle"), 1);
}

/// A client is told how many requests it may have at a time on one connection.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_connection_are_bounded() {
    const SETTINGS: u8 = 4;
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let served = Served::start("default", |_| ()).await;
    let mut stream = idle(&served, PREFACE_AND_SETTINGS).await;
    // A frame: three bytes of length, its type, flags, four of the stream.
    let mut head = [0; 9];
    within(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], SETTINGS);
    let mut settings = vec![0; usize::from(head[2])];
    within(stream.read_exact(&mut settings)).await.unwrap();
    let setting = |it: &[u8]| (u16::from_be_bytes([it[0], it[1]]), u32::from_be_bytes([it[2], it[3], it[4], it[5]]));
    let settings: Vec<_> = settings.chunks(6).map(setting).collect();
    assert!(settings.contains(&(MAX_CONCURRENT_STREAMS, 100)), "{settings:?}");
    served.stop().await;
}

/// What the log says of connections that are too many, and by which settings.
#[tokio::test]
async fn too_many_connections_are_said() {
    let said = Said::default();
    let subscriber = tracing_subscriber::fmt().with_writer(said.clone()).with_ansi(false).finish();
    let _said_here = tracing::subscriber::set_default(subscriber);
    let served = Served::start("crowded", |options| {
        options.connections_max = 4;
        options.peer_percent_max = 50;
        options.idle_max = NEVER;
    })
    .await;
    let mut idle_ones = Vec::new();
    for peer in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]] {
        for _ in 0..3 {
            let mut stream = from(&served, peer).await;
            stream.write_all(PREFACE_AND_SETTINGS).await.unwrap();
            within(stream.read(&mut [0; 64])).await.unwrap();
            idle_ones.push(stream);
        }
    }
    let said = said.text();
    let of_a_peer =
        "too many connections of one peer max=2 settings=\"connections_max, peer_percent_max\" peer=127.0.0.1";
    let of_all = "too many connections max=4 settings=\"connections_max\"";
    for line in [of_a_peer, of_all] {
        assert_eq!(said.matches(line).count(), 1, "{line}: {said}");
    }
    served.stop().await;
}

/// What was logged.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Said {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
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
