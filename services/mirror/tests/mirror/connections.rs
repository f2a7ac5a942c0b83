//! Connections on which one side has nothing more to say, and how long an answer counts.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{DEADLINE, Running, answer, body_of, hashing, pattern, read_to_end};

#[tokio::test]
async fn whoever_has_asked_may_close_its_side() {
    let mirror = Running::start().await;
    mirror.put("1.root.json", b"{}");
    let large = pattern(4 << 20);
    let large_at = format!("/targets/{}.large", mirror.store(&large));
    // This one is hashed first.
    let long_at = format!("/targets/{}.long", mirror.store_long(7));
    let mut stream = TcpStream::connect(mirror.address).await.unwrap();
    for path in ["/metadata/1.root.json", &long_at, &large_at, "/metadata/none"] {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: mirror\r\n\r\n").as_bytes()).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let answered = async {
        assert_eq!(answer(&mut stream, true).await, (200, b"{}".to_vec()));
        assert_eq!(answer(&mut stream, true).await.0, 404);
        assert!(answer(&mut stream, true).await == (200, large));
        assert_eq!(answer(&mut stream, true).await.0, 404);
    };
    tokio::time::timeout(DEADLINE, answered).await.unwrap();
    // There is nothing to wait for.
    assert!(read_to_end(stream).await.is_empty());

    // Whoever breaks off within a request is not waited for either.
    let mut stream = TcpStream::connect(mirror.address).await.unwrap();
    stream.write_all(b"GET /metadata/1.root.json HT").await.unwrap();
    stream.shutdown().await.unwrap();
    read_to_end(stream).await;
}

#[tokio::test]
async fn no_connection_outlives_the_mirror_also_where_a_digest_is_waited_for() {
    let mirror = Running::start().await;
    let waiting = hashing(&mirror).await;
    mirror.task.abort();
    for stream in waiting {
        assert!(read_to_end(stream).await.is_empty());
    }
    assert_eq!(mirror.hashed("artifact"), 2, "the third one's turn would have come after the other two");
}

#[tokio::test]
async fn an_answer_counts_until_the_system_has_all_of_it() {
    // Two connections, one for each client, and one place for transfers.
    let mirror = Running::start_narrow(|config| config.connections_max = 2).await;
    let document = pattern(60_000);
    mirror.put("1.root.json", &document);
    let asked_by_another = async || read_to_end(mirror.send_from(3, "/metadata/1.root.json").await).await;
    let mut slow = mirror.send_narrow(2, "/metadata/1.root.json").await;
    // With the first byte, the answer has given all that it has, and the mirror waits to hand it over.
    let mut begun = vec![slow.read_u8().await.unwrap()];
    for _ in 0..3 {
        assert!(asked_by_another().await.starts_with(b"HTTP/1.1 503"));
    }
    begun.extend(read_to_end(slow).await);
    assert!(body_of(&begun) == document);
    let served = async { while !asked_by_another().await.starts_with(b"HTTP/1.1 200") {} };
    tokio::time::timeout(DEADLINE, served).await.unwrap();
}
