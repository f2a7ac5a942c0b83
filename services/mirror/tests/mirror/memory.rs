//! Small files that are kept in memory, and large ones that are sent from where the system has them.

use std::os::unix::fs::MetadataExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{DEADLINE, Running, answer, body_of, pattern, read_to_end};

#[tokio::test]
async fn what_is_kept_is_served_only_while_the_directory_has_it() {
    let mirror = Running::start().await;
    let read = async |at: &str| mirror.get(at).await.text().await.unwrap();
    for round in 100..300 {
        // All of one length, as fast as they come.
        let timestamp = format!("{{\"round\":{round}}}");
        mirror.put("timestamp.json", timestamp.as_bytes());
        for _ in 0..2 {
            assert_eq!(read("/metadata/timestamp.json").await, timestamp);
        }
    }
    let hashed = mirror.hashed("metadata");
    read("/metadata/timestamp.json").await;
    assert_eq!(mirror.hashed("metadata"), hashed);

    mirror.put("1.root.json", b"{}");
    let artifact = mirror.store(b"artifact");
    let artifact_at = format!("/targets/{artifact}.artifact");
    for at in ["/metadata/1.root.json", "/metadata/timestamp.json", &artifact_at] {
        assert_eq!(mirror.get(at).await.status(), 200);
        assert_eq!(mirror.get(at).await.status(), 200);
    }
    for file in [mirror.metadata("1.root.json"), mirror.metadata("timestamp.json"), mirror.artifact(artifact)] {
        std::fs::remove_file(file).unwrap();
    }
    for at in ["/metadata/1.root.json", "/metadata/timestamp.json", &artifact_at] {
        assert_eq!(mirror.get(at).await.status(), 404);
    }
    mirror.store(b"artifact");
    assert_eq!(read(&artifact_at).await, "artifact");

    // Artifacts are others' files, and may be written over where they are.
    let file = mirror.artifact(artifact);
    let changed = || std::fs::metadata(&file).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    let before = changed();
    while changed() == before {
        std::fs::write(&file, b"artifice").unwrap();
    }
    assert_eq!(mirror.get(&artifact_at).await.status(), 404);
}

#[tokio::test]
async fn files_of_every_length_arrive_whole_one_after_the_other_on_one_connection() {
    const KB: usize = 1024;
    let mirror = Running::start().await;
    mirror.put("timestamp.json", b"{}");
    // Around what is kept, and around the parts that larger files are sent in.
    let lengths = [
        0,
        1,
        1_024 * KB - 1,
        1_024 * KB,
        1_024 * KB + 1,
        1_088 * KB - 1,
        1_088 * KB,
        1_088 * KB + 1,
        2_112 * KB,
        2_112 * KB + 1,
        9_999 * KB + 999,
    ];
    let contents: Vec<_> = lengths.into_iter().map(pattern).collect();
    let digests: Vec<_> = contents.iter().map(|it| mirror.store(it)).collect();
    let paths: Vec<_> = digests.iter().map(|digest| format!("/targets/{digest}.file")).collect();
    // The second time, small ones are kept; the third time, large ones come from the disk.
    for is_cold in [false, false, true] {
        for digest in digests.iter().filter(|_| is_cold) {
            let file = std::fs::File::open(mirror.artifact(*digest)).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let mut stream = tokio::net::TcpStream::connect(mirror.address).await.unwrap();
        let mut requests = String::new();
        for path in &paths {
            for (method, path, range) in [
                ("GET", "/metadata/timestamp.json", ""),
                ("GET", path, ""),
                ("HEAD", path, ""),
                ("GET", "/metadata/none", ""),
                ("GET", path, "Range: bytes=-70000\r\n"),
                ("GET", path, "Range: bytes=1048000-5000000\r\n"),
            ] {
                requests.push_str(&format!("{method} {path} HTTP/1.1\r\nHost: mirror\r\n{range}\r\n"));
            }
        }
        let (mut reading, mut writing) = stream.split();
        let write = async { writing.write_all(requests.as_bytes()).await.unwrap() };
        let read = async {
            for content in &contents {
                assert_eq!(answer(&mut reading, true).await, (200, b"{}".to_vec()));
                assert!(answer(&mut reading, true).await == (200, content.clone()), "{}", content.len());
                assert_eq!(answer(&mut reading, false).await, (200, Vec::new()));
                assert_eq!(answer(&mut reading, true).await.0, 404);
                for (first, last) in
                    [(content.len().saturating_sub(70_000), content.len()), (1_048_000, 5_000_001.min(content.len()))]
                {
                    let wanted = match content.get(first..last).filter(|it| !it.is_empty()) {
                        Some(part) => (206, part.to_vec()),
                        None => (416, Vec::new()),
                    };
                    assert!(answer(&mut reading, true).await == wanted, "{first} to {last} of {}", content.len());
                }
            }
        };
        tokio::time::timeout(DEADLINE, futures::future::join(write, read)).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_whose_file_is_written_over_before_its_end_is_sent_is_cut() {
    const LENGTH: usize = 3 << 20;
    let mirror = Running::start_narrow(|_| {}).await;
    let digest = mirror.store(&pattern(LENGTH));
    // What is not taken yet is the end, which is read last, and a little that goes before it.
    for left in [74 << 10, 76 << 10, 78 << 10] {
        let mut reader = mirror.send_narrow(1, &format!("/targets/{digest}.file")).await;
        let mut begun = vec![0; LENGTH - left];
        reader.read_exact(&mut begun).await.unwrap();
        std::fs::write(mirror.artifact(digest), vec![b'x'; LENGTH]).unwrap();
        begun.extend(read_to_end(reader).await);
        assert!(body_of(&begun).len() < LENGTH, "{left}");
        mirror.store(&pattern(LENGTH));
    }
}
