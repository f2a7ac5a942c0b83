//! What clients take from each other: hashing, places, permits.

use rstuf_runtime::Clock;
use tokio::io::AsyncReadExt;

use crate::support::{Running, eventually, hashing, read_to_end};

#[tokio::test]
async fn hashing_goes_on_when_the_client_has_left_and_happens_once() {
    let mirror = Running::start().await;
    // Its bytes are not those of its name, which is known when they have been hashed.
    let at = format!("/targets/{}.long", mirror.store_long(7));
    let leaves = mirror.send(&at).await;
    eventually(|| mirror.hashed("artifact") == 1).await;
    drop(leaves);
    // As if by many who come and go.
    let others: Vec<_> = std::iter::repeat_with(|| mirror.get(&at)).take(8).collect();
    for answer in futures::future::join_all(others).await {
        assert_eq!(answer.status(), 404);
    }
    assert_eq!(mirror.hashed("artifact"), 1);
}

#[tokio::test]
async fn metadata_is_hashed_while_artifacts_take_all_their_permits() {
    let mirror = Running::start().await;
    let waiting = hashing(&mirror).await;
    mirror.put("1.root.json", b"{}");
    assert_eq!(mirror.get("/metadata/1.root.json").await.status(), 200);
    // No answer came before: both permits are taken still.
    for stream in &waiting {
        assert!(stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
}

#[tokio::test]
async fn slow_readers_of_all_that_is_large_leave_places_for_the_timestamp() {
    let mirror = Running::start_with(Clock::system(), |config| config.connections_max = 4).await;
    mirror.put("timestamp.json", b"{}");
    let large = mirror.store(&vec![b'a'; 48 << 20]);
    let mut readers = Vec::new();
    for host in [2, 2, 3] {
        let mut reader = mirror.send_from(host, &format!("/targets/{large}.large")).await;
        reader.read_exact(&mut [0; 1024]).await.unwrap();
        readers.push(reader);
    }
    let busy = mirror.raw(&format!("/targets/{large}.large")).await;
    assert!(busy.starts_with("HTTP/1.1 503") && busy.contains("retry-after: 1"), "{busy}");
    assert!(mirror.raw("/metadata/timestamp.json").await.starts_with("HTTP/1.1 200"));
    readers.pop();
    eventually_served(&mirror, &format!("/targets/{large}.large")).await;
}

#[tokio::test]
async fn one_client_holds_half_of_the_connections_however_many_it_opens() {
    let mirror = Running::start_with(Clock::system(), |config| config.connections_max = 4).await;
    mirror.put("timestamp.json", b"{}");
    let large = format!("/targets/{}.large", mirror.store(&vec![b'a'; 48 << 20]));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut reader = mirror.send_from(2, &large).await;
        reader.read_exact(&mut [0; 1024]).await.unwrap();
        readers.push(reader);
    }
    assert!(read_to_end(mirror.send_from(2, "/metadata/timestamp.json").await).await.is_empty());
    assert!(read_to_end(mirror.send_from(3, "/metadata/timestamp.json").await).await.starts_with(b"HTTP/1.1 200"));
    let metrics = mirror.context.metrics.encode().unwrap();
    assert!(metrics.contains("rstuf_connections_refused_total{service=\"mirror\"} 1"), "{metrics}");
}

/// A place that was left is free as soon as the mirror has noticed.
async fn eventually_served(mirror: &Running, at: &str) {
    let served = async { while mirror.get(at).await.status() != 200 {} };
    tokio::time::timeout(crate::support::DEADLINE, served).await.unwrap();
}
