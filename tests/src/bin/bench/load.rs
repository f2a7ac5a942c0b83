//! Load on an HTTP server: one thread, and connections that are kept, each of which asks again when it was answered.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

/// Connections at a time.
pub(crate) const CONNECTIONS: usize = 32;
/// What is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// What is asked for, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Of the server.
    pub address: SocketAddr,
    /// Of the URL.
    pub path: String,
    /// How long.
    pub time: Duration,
}

/// What came in the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Whole answers.
    pub answers: f64,
    /// Bytes of their bodies, of those that had not ended too.
    pub bytes: f64,
}

impl Load {
    /// Asks once, so that whatever is done once is done, then puts on the load.
    ///
    /// # Errors
    /// Where an answer is not 200, or none comes.
    pub(crate) async fn run(self) -> anyhow::Result<Answered> {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, self.on_this_thread())
        };
        let thread = tokio::task::spawn_blocking(|| thread::spawn(run).join());
        thread.await?.map_err(|_| anyhow!("the load panicked"))?
    }

    async fn on_this_thread(self) -> anyhow::Result<Answered> {
        let (answers, bytes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut first = Connection::open(self.address, &self.path).await?;
        first.ask(&Cell::new(0)).await?;
        let mut running = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Connection::open(self.address, &self.path).await?;
            let (answers, bytes) = (answers.clone(), bytes.clone());
            running.spawn_local(async move {
                loop {
                    if let Err(error) = connection.ask(&bytes).await {
                        return error;
                    }
                    answers.set(answers.get() + 1);
                }
            });
        }
        let begun = Instant::now();
        if let Ok(Some(failed)) = tokio::time::timeout(self.time, running.join_next()).await {
            return Err(failed?);
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Answered { seconds, answers: f64::from(answers.get()), bytes: bytes.get() as f64 })
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        Ok(Self { stream, request, buffer: vec![0; READ_BYTES] })
    }

    /// One request, and the whole of its answer, whose bytes are counted as they come.
    async fn ask(&mut self, bytes: &Cell<u64>) -> anyhow::Result<()> {
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            let head = self.buffer[..filled].windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(head) = head {
                break head + 4;
            }
        };
        let mut left = body_bytes(&self.buffer[..head])?;
        let mut read = (filled - head) as u64;
        loop {
            bytes.set(bytes.get() + read);
            left = left.checked_sub(read).context("more came than was said")?;
            if left == 0 {
                return Ok(());
            }
            read = self.read(0).await? as u64;
        }
    }

    async fn read(&mut self, at: usize) -> anyhow::Result<usize> {
        let read = self.stream.read(&mut self.buffer[at..]).await?;
        ensure!(read > 0, "the server closed the connection");
        Ok(read)
    }
}

fn body_bytes(head: &[u8]) -> anyhow::Result<u64> {
    let head = std::str::from_utf8(head)?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "answered {status:?}");
    let length = lines.filter_map(|line| line.split_once(": "));
    let length = length.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(length.context("no length")?.1.parse()?)
}
