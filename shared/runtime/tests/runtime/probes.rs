//! What probes and scrapers see, and what a manual clock wakes.

use std::{
    net::SocketAddr,
    sync::{Mutex, mpsc},
    time::Duration,
};

use jiff::{Timestamp, ToSpan};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
use rstuf_runtime::{Clock, admin, listen, names};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::common::{context, port, within};

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A metric that is read from a disk which does not answer.
#[derive(Debug)]
struct Stuck(Mutex<mpsc::Receiver<()>>);

impl Collector for Stuck {
    fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let _ = self.0.lock().unwrap().recv_timeout(Duration::from_secs(10));
        Ok(())
    }
}

/// On one thread: whatever waits on it keeps everything else waiting.
#[tokio::test]
async fn probes_are_answered_while_scrapers_wait() {
    let context = context("scraped");
    let (release, stuck) = mpsc::channel();
    context.metrics.register_collector(Stuck(Mutex::new(stuck)));
    let (listener, address) = port().await;
    let _admin = admin::spawn(listener, &context);
    let mut scrapers = Vec::new();
    for _ in 0..2 {
        let mut scraper = TcpStream::connect(address).await.unwrap();
        scraper.write_all("GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n".repeat(2).as_bytes()).await.unwrap();
        scrapers.push(scraper);
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(address, path).await.0, 200);
    }
    for scraper in &scrapers {
        assert!(scraper.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    drop(release);
    for scraper in &mut scrapers {
        let mut begin = [0; 12];
        within(scraper.read_exact(&mut begin)).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn probes_tell_the_truth() {
    let context = context("probed");
    let (listener, address) = port().await;
    let admin = admin::spawn(listener, &context);
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".to_owned()));

    let store = context.readiness.hold("opening the state directory");
    let peers = context.readiness.hold("comparing with the signers");
    let both = "opening the state directory\ncomparing with the signers\n".to_owned();
    assert_eq!(get(address, "/readyz").await, (503, both));
    store.release();
    assert_eq!(get(address, "/readyz").await, (503, "comparing with the signers\n".to_owned()));
    let disk = context.readiness.hold_error("the state directory's disk is full: make room on it");
    let lasting = "error, waiting will not mend it: the state directory's disk is full: make room on it\n";
    assert_eq!(get(address, "/readyz").await, (503, format!("{lasting}comparing with the signers\n")));
    drop(peers);
    assert_eq!(get(address, "/readyz").await, (503, lasting.to_owned()));
    disk.release();
    let away = context.readiness.warn("the snapshot signer does not answer");
    assert_eq!(get(address, "/readyz").await, (200, "ok\nwarning: the snapshot signer does not answer\n".to_owned()));
    away.release();
    within(context.readiness.ready()).await;
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".to_owned()));

    context.shutdown.trigger();
    assert_eq!(get(address, "/readyz").await, (503, "shutting down\n".to_owned()));
    assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()), "draining is not dying");

    context.metrics.gauge(names::QUEUE_DEPTH, "submissions that wait").set(7);
    context.metrics.counter_by(names::SIGNATURES, "signatures made", "role").with("snapshot").inc();
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"rstuf_queue_depth{service="probed"} 7"#,
        r#"rstuf_signatures_total{service="probed",role="snapshot"} 1"#,
        r#"rstuf_resident_bytes{service="probed"}"#,
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(get(address, "/nothing").await.0, 404);
    drop(admin);
    within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
}

#[tokio::test]
async fn silent_connections_do_not_blind_the_probes() {
    let (listener, address) = port().await;
    let admin = admin::spawn(listener, &context("besieged"));
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/livez").await, (200, "ok\n".to_owned()));
    drop(admin);
    let mut answer = String::new();
    let _ = within(silent[299].read_to_string(&mut answer)).await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_manual_clock_wakes_whoever_waited_for_it() {
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let (clock, manual) = Clock::manual(start);
    let sleeper = clock.clone();
    let sleeping = tokio::spawn(async move {
        sleeper.sleep_until(start + 24.hours()).await;
        sleeper.now()
    });
    manual.advance(Duration::from_secs(24 * 3_600 - 1));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!sleeping.is_finished(), "a second is missing");
    manual.advance(Duration::from_secs(1));
    assert_eq!(within(sleeping).await.unwrap(), start + 24.hours());

    let mut nap = std::pin::pin!(clock.sleep(Duration::from_secs(5)));
    tokio::select! {
        biased;
        () = &mut nap => panic!("nobody moved the clock"),
        () = std::future::ready(()) => manual.advance(Duration::from_secs(5)),
    }
    within(nap).await;
    manual.set(start);
    assert_eq!(clock.now(), start, "clocks can go back");
    within(clock.sleep_until(start)).await;
    manual.set(Timestamp::MAX);
    manual.advance(Duration::from_secs(1));
    assert_eq!(manual.clock().now(), Timestamp::MAX);
    within(Clock::system().sleep_until(start - 100.hours() * 365)).await;
}

#[tokio::test]
async fn plaintext_stays_on_the_machine_unless_allowed() {
    for local in ["127.0.0.1:0", "127.8.8.8:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        listen::check(local.parse().unwrap(), false).unwrap();
    }
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let error = listen::bind(open.parse().unwrap(), false).await.unwrap_err().to_string();
        assert!(error.contains("--insecure-plaintext"), "{error}");
    }
    assert!(listen::bind("0.0.0.0:0".parse().unwrap(), true).await.is_ok());
    let (listener, address) = port().await;
    let error = listen::bind(address, false).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    drop(listener);
}
