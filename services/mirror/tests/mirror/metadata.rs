//! Metadata over real HTTP: caching, conditions, ranges, compression, and files that change while they are read.

use std::{io::Read, os::unix::fs::symlink};

use rstuf_runtime::Clock;
use rstuf_tuf::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    repository::Repository,
    support::{DEADLINE, Running, body_of, eventually, header, read_to_end},
};

const FOR_EVER: &str = "public, max-age=31536000, immutable";

#[tokio::test]
async fn documents_are_cached_by_their_names_and_compressed_on_demand() {
    let mirror = Running::start().await;
    let document = format!("{{{}}}", " ".repeat(5_000)).into_bytes();
    mirror.put("12.bins-0f.json", &document);
    mirror.put("timestamp.json", b"{}");
    let plain = format!("\"{}\"", Sha256::of(&document));
    let gzip = format!("\"{}-gzip\"", Sha256::of(&document));
    const AT: &str = "/metadata/12.bins-0f.json";

    let whole = mirror.get(AT).await;
    assert_eq!(whole.status(), 200);
    let headers = [
        ("content-type", "application/json"),
        ("cache-control", FOR_EVER),
        ("etag", &plain),
        ("vary", "accept-encoding"),
        ("accept-ranges", "bytes"),
        ("content-length", "5002"),
        ("content-encoding", ""),
    ];
    for (name, value) in headers {
        assert_eq!(header(&whole, name), value, "{name}");
    }
    assert_eq!(whole.bytes().await.unwrap(), document);
    assert_eq!(header(&mirror.get("/metadata/timestamp.json").await, "cache-control"), "public, max-age=5");

    let packed = mirror.get_with(AT, &[("accept-encoding", "br, gzip")]).await;
    assert_eq!((header(&packed, "etag"), header(&packed, "content-encoding")), (gzip.as_str(), "gzip"));
    assert_eq!(header(&packed, "vary"), "accept-encoding");
    let length: usize = header(&packed, "content-length").parse().unwrap();
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() == length && length < 500);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, document);
    let small = mirror.get_with("/metadata/timestamp.json", &[("accept-encoding", "gzip")]).await;
    assert_eq!((header(&small, "content-encoding"), header(&small, "vary")), ("", "accept-encoding"));

    // Either form is known by its own tag, strong or weakened by a proxy, alone or among others.
    let weak = format!("\"other\", W/{plain}");
    for (sent, known) in [(&plain, &plain), (&gzip, &gzip), (&weak, &plain), (&"*".to_owned(), &plain)] {
        let same = mirror.get_with(AT, &[("if-none-match", sent), ("accept-encoding", "gzip")]).await;
        assert_eq!((same.status().as_u16(), header(&same, "etag")), (304, known.as_str()), "{sent}");
        assert_eq!((header(&same, "cache-control"), header(&same, "vary")), (FOR_EVER, "accept-encoding"));
        assert_eq!(same.bytes().await.unwrap(), b""[..]);
    }
    assert_eq!(mirror.get_with(AT, &[("if-none-match", "\"other\"")]).await.status(), 200);

    for (method, status) in [("HEAD", 200), ("POST", 405), ("DELETE", 405), ("OPTIONS", 405)] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = reqwest::Client::new().request(method.clone(), mirror.url(AT)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method}");
        if status == 200 {
            assert_eq!((header(&answer, "content-length"), header(&answer, "etag")), ("5002", plain.as_str()));
            assert_eq!(answer.bytes().await.unwrap(), b""[..]);
            let packed =
                reqwest::Client::new().head(mirror.url(AT)).header("accept-encoding", "gzip").send().await.unwrap();
            assert_eq!((header(&packed, "etag"), header(&packed, "content-encoding")), (gzip.as_str(), "gzip"));
        } else {
            assert_eq!((header(&answer, "allow"), header(&answer, "cache-control")), ("GET,HEAD", "no-store"));
        }
    }
}

#[tokio::test]
async fn ranges_are_parts_of_the_plain_document() {
    let mirror = Running::start().await;
    let document: Vec<u8> = (0..200_000_u32).map(|index| b'a' + u8::try_from(index % 26).unwrap()).collect();
    mirror.put("1.targets.json", &document);
    let tag = format!("\"{}\"", Sha256::of(&document));
    const AT: &str = "/metadata/1.targets.json";

    let parts = [
        ("bytes=0-9", 0..10),
        ("bytes=100000-199998", 100_000..199_999),
        ("bytes=-5", 199_995..200_000),
        ("bytes=7-", 7..200_000),
    ];
    for (range, wanted) in parts {
        let part = mirror.get_with(AT, &[("range", range), ("accept-encoding", "gzip")]).await;
        assert_eq!((part.status().as_u16(), header(&part, "etag")), (206, tag.as_str()));
        let place = format!("bytes {}-{}/200000", wanted.start, wanted.end - 1);
        assert_eq!((header(&part, "content-range"), header(&part, "content-encoding")), (place.as_str(), ""));
        assert_eq!(part.bytes().await.unwrap(), document[wanted], "{range}");
    }
    let beyond = mirror.get_with(AT, &[("range", "bytes=200000-")]).await;
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, "bytes */200000"));
    assert_eq!(header(&beyond, "cache-control"), "no-store");

    let weak = format!("W/{tag}");
    let gzip = tag.replace("\"", "").to_owned() + "-gzip";
    let conditions = [
        (tag.as_str(), 206),
        (weak.as_str(), 200),
        ("\"other\"", 200),
        (gzip.as_str(), 200),
        ("Tue, 01 Jan 2030 00:00:00 GMT", 200),
    ];
    for (condition, status) in conditions {
        let answer = mirror.get_with(AT, &[("range", "bytes=0-9"), ("if-range", condition)]).await;
        assert_eq!(answer.status(), status, "{condition}");
    }
    let several = mirror.get_with(AT, &[("range", "bytes=0-1,5-6")]).await;
    assert_eq!((several.status().as_u16(), several.bytes().await.unwrap().len()), (200, 200_000));
    let head = reqwest::Client::new().head(mirror.url(AT)).header("range", "bytes=0-1").send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "200000"));
}

#[tokio::test]
async fn nothing_but_published_files_can_be_named() {
    let mirror = Running::start().await;
    let secret = mirror.directory.path().join("secret.json");
    std::fs::write(&secret, "top secret").unwrap();
    mirror.put("1.root.json", b"{}");
    mirror.put("0.root.json", b"top secret");
    mirror.put("notes.json", b"top secret");
    symlink(&secret, mirror.metadata("2.root.json")).unwrap();
    std::fs::create_dir(mirror.metadata("3.root.json")).unwrap();
    let pipe = mirror.metadata("4.root.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    symlink("1.root.json", mirror.metadata("5.root.json")).unwrap();

    let corpus = [
        "/metadata/../../secret.json",
        "/metadata/..%2f..%2fsecret.json",
        "/metadata/%2e%2e/%2e%2e/secret.json",
        "/metadata/.%2e/.%2E/secret.json",
        "/metadata/%252e%252e/secret.json",
        "/metadata/..%5c..%5csecret.json",
        "/metadata/..\\..\\secret.json",
        "/metadata//etc/passwd",
        "/metadata/../metadata/1.root.json",
        "/metadata/./1.root.json",
        "/metadata//1.root.json",
        "/metadata/1.root.json/",
        "/metadata/1.root.json%00",
        "/metadata/1.root.json%00.json",
        "/metadata/1%2eroot.json",
        "/metadata/1.root.json;x",
        "/metadata/01.root.json",
        "/metadata/+1.root.json",
        "/metadata/0.root.json",
        "/metadata/4294967297.root.json",
        "/metadata/1.Root.json",
        "/metadata/1.timestamp.json",
        "/metadata/root.json",
        "/metadata/1.root",
        "/metadata/notes.json",
        "/metadata/.new",
        "/metadata/2.root.json",
        "/metadata/3.root.json",
        "/metadata/4.root.json",
        "/metadata/5.root.json",
        "/metadata/6.root.json",
        "/metadata/",
        "/metadata",
        "/",
        "/../../secret.json",
        "/%2e%2e/secret.json",
        "/artifacts/x",
    ];
    for path in corpus {
        let answer = mirror.raw(path).await;
        let status = answer.split(' ').nth(1).unwrap();
        assert!(matches!(status, "400" | "404"), "{path}: {answer}");
        assert!(status == "400" || answer.contains("cache-control: no-store"), "{path}: {answer}");
        assert!(!answer.contains("secret"), "{path}: {answer}");
    }
    assert!(mirror.raw(&format!("/metadata/{}.json", "a".repeat(20_000))).await.starts_with("HTTP/1.1 4"));
    assert!(mirror.raw("/metadata/1.root.json?any=query").await.starts_with("HTTP/1.1 200"));
}

/// More than the buffers of a socket hold, so that a reader who pauses really makes the mirror wait.
const LARGE: usize = 48 << 20;

#[tokio::test]
async fn a_slow_reader_gets_the_file_that_it_began() {
    let mirror = Running::start().await;
    mirror.put("timestamp.json", &vec![b'a'; LARGE]);
    mirror.put("1.root.json", &vec![b'r'; LARGE]);
    mirror.put("7.bins-0.json", &vec![b'o'; LARGE]);

    let mut readers = Vec::new();
    for path in ["/metadata/timestamp.json", "/metadata/1.root.json", "/metadata/7.bins-0.json"] {
        let mut reader = mirror.send(path).await;
        let mut begun = vec![0; 4096];
        reader.read_exact(&mut begun).await.unwrap();
        readers.push((reader, begun));
    }
    // One is replaced, one is deleted, and one, against the rules, written over.
    mirror.put("timestamp.json", &vec![b'b'; LARGE]);
    std::fs::remove_file(mirror.metadata("1.root.json")).unwrap();
    std::fs::write(mirror.metadata("7.bins-0.json"), vec![b'x'; LARGE]).unwrap();

    let mut answers = Vec::new();
    for (reader, mut begun) in readers {
        begun.extend(read_to_end(reader).await);
        answers.push(body_of(&begun).to_vec());
    }
    assert!(answers[0].len() == LARGE && answers[0].iter().all(|byte| *byte == b'a'));
    assert!(answers[1].len() == LARGE && answers[1].iter().all(|byte| *byte == b'r'));
    // Never a mixture that looks complete.
    assert!(answers[2].len() < LARGE);
    let new = mirror.get("/metadata/timestamp.json").await.bytes().await.unwrap();
    assert!(new.len() == LARGE && new.iter().all(|byte| *byte == b'b'));
    assert_eq!(mirror.get("/metadata/1.root.json").await.status(), 404);
}

#[tokio::test]
async fn silent_and_stalled_clients_lose_their_place() {
    let mirror = Running::start_with(Clock::system(), |config| {
        config.connections_max = 1;
        config.header_timeout = std::time::Duration::from_millis(300);
        config.stall_timeout = std::time::Duration::from_millis(700);
    })
    .await;
    mirror.put("timestamp.json", b"{}");
    mirror.put("1.root.json", &vec![b'r'; LARGE]);
    // Each time the only place is taken. Whoever is silent gives way at once, whoever takes nothing after a while.
    let silent = tokio::net::TcpStream::connect(mirror.address).await.unwrap();
    assert!(mirror.raw("/metadata/timestamp.json").await.starts_with("HTTP/1.1 200"));
    let mut stalled = mirror.send("/metadata/1.root.json").await;
    stalled.read_exact(&mut [0; 1]).await.unwrap();
    assert!(reqwest::get(mirror.url("/metadata/timestamp.json")).await.is_err());
    let served = async { while reqwest::get(mirror.url("/metadata/timestamp.json")).await.is_err() {} };
    tokio::time::timeout(DEADLINE, served).await.unwrap();
    assert!(read_to_end(silent).await.is_empty());
    assert!(body_of(&read_to_end(stalled).await).len() < LARGE);
}

#[tokio::test]
async fn a_published_directory_that_does_not_exist_is_named_until_it_does() {
    let mirror = Running::start().await;
    let ready = mirror.context.readiness.clone();
    let published = mirror.directory.path().join("published");
    std::fs::remove_dir_all(&published).unwrap();
    let told = |wanted: &str| {
        let (ready, wanted) = (ready.clone(), wanted.to_owned());
        eventually(move || ready.reasons().iter().map(ToString::to_string).eq([wanted.as_str()]))
    };
    told(&format!("published_dir {published:?} cannot be read: No such file or directory (os error 2)")).await;
    std::fs::create_dir_all(published.join("metadata")).unwrap();
    told("no timestamp.json is published").await;
    mirror.put("timestamp.json", b"{}");
    tokio::time::timeout(DEADLINE, ready.ready()).await.unwrap();
    std::fs::rename(&published, mirror.directory.path().join("elsewhere")).unwrap();
    told(&format!("published_dir {published:?} cannot be read: No such file or directory (os error 2)")).await;
    std::fs::rename(mirror.directory.path().join("elsewhere"), &published).unwrap();
    tokio::time::timeout(DEADLINE, ready.ready()).await.unwrap();
}

#[tokio::test]
async fn probes_and_metrics_tell_the_truth_and_a_stop_lets_transfers_end() {
    let mut mirror = Running::start().await;
    let ready = mirror.context.readiness.clone();
    assert!(!ready.is_ready());
    let mut repository = Repository::new();
    repository.publish();
    mirror.publish(&repository);
    tokio::time::timeout(DEADLINE, ready.ready()).await.unwrap();

    for path in ["/metadata/timestamp.json", "/metadata/2.root.json", "/targets/none", "/else"] {
        // To its end: who leaves earlier may be sent nothing.
        mirror.get(path).await.bytes().await.unwrap();
    }
    let body = repository.files["timestamp.json"].len();
    let metrics = mirror.context.metrics.encode().unwrap();
    assert!(!metrics.contains("rstuf_grpc"), "it has no gRPC: {metrics}");
    assert!(metrics.contains("rstuf_free_bytes{service=\"mirror\",directory=\"published\"} "), "{metrics}");
    for line in [
        &format!(r#"rstuf_http_body_bytes_total{{service="mirror",kind="timestamp"}} {body}"#),
        r#"rstuf_http_request_seconds_count{service="mirror",kind="timestamp"} 1"#,
        r#"rstuf_http_requests_total{service="mirror",kind="timestamp",status="200"} 1"#,
        r#"rstuf_http_requests_total{service="mirror",kind="metadata",status="404"} 1"#,
        r#"rstuf_http_requests_total{service="mirror",kind="artifact",status="404"} 1"#,
        r#"rstuf_http_requests_total{service="mirror",kind="other",status="404"} 1"#,
        r#"rstuf_expiry_seconds{service="mirror",role="timestamp"} 86400.0"#,
    ] {
        // What the end of an answer counts may come after its last byte.
        let counted = || mirror.context.metrics.encode().unwrap().lines().any(|found| found == line);
        eventually(counted).await;
    }

    std::fs::remove_file(mirror.metadata("timestamp.json")).unwrap();
    eventually(|| !ready.is_ready()).await;

    mirror.put("9.root.json", &vec![b'r'; LARGE]);
    let mut reader = mirror.send("/metadata/9.root.json").await;
    let mut begun = vec![0; 4096];
    reader.read_exact(&mut begun).await.unwrap();
    // Accepted before the one that has an answer already, and not heard yet.
    let mut unheard = tokio::net::TcpStream::connect(mirror.address).await.unwrap();
    let mut idle = tokio::net::TcpStream::connect(mirror.address).await.unwrap();
    idle.write_all(b"HEAD /metadata/none HTTP/1.1\r\nHost: mirror\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 1]).await.unwrap();
    mirror.context.shutdown.trigger();
    read_to_end(idle).await;
    // That one was told to end. As long as the mirror waits for the reader, others are served, whenever they came.
    unheard.write_all(b"GET /metadata/none HTTP/1.1\r\nHost: mirror\r\n\r\n").await.unwrap();
    assert!(read_to_end(unheard).await.starts_with(b"HTTP/1.1 404"));
    assert!(mirror.raw("/metadata/none").await.starts_with("HTTP/1.1 404"));
    begun.extend(read_to_end(reader).await);
    assert_eq!(body_of(&begun).len(), LARGE);
    tokio::time::timeout(DEADLINE, &mut mirror.task).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(mirror.address).await.is_err());
}
