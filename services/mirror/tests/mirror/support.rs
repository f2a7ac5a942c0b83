//! A mirror on a free port, over directories that a test fills.

use std::{fs::File, net::SocketAddr, path::PathBuf, time::Duration};

use rstuf_mirror::{Config, ConfigRaw, Mirror};
use rstuf_runtime::{Clock, Context, Shutdown, config};
use rstuf_tuf::Sha256;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::repository::{Repository, start};

/// Longest that a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What a narrow socket holds, as far as the system lets it be so little.
const NARROW_BYTES: u32 = 1024;

pub struct Running {
    pub directory: TempDir,
    pub address: SocketAddr,
    pub context: Context,
    pub task: JoinHandle<()>,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(Clock::manual(start()).0, |_| {}).await
    }

    pub async fn start_with(clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), clock, change).await
    }

    /// Over sockets that hold little, as do those of [`Self::send_narrow`]: what such a client does not take stays with
    /// the mirror.
    pub async fn start_narrow(change: impl FnOnce(&mut Config)) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(NARROW_BYTES).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self::start_on(socket.listen(16).unwrap(), Clock::manual(start()).0, change).await
    }

    async fn start_on(listener: TcpListener, clock: Clock, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["published/metadata", "artifacts"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let setting = |name: &str| Some(directory.path().join(name).to_str().unwrap().into());
        let raw = ConfigRaw {
            published_dir: setting("published"),
            artifacts_dir: setting("artifacts"),
            ..ConfigRaw::default()
        };
        let mut config = config::checked(&raw).unwrap();
        change(&mut config);
        let context = Context::new("mirror", clock, Shutdown::new());
        let mirror = Mirror::build(&config, context.clone()).unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(mirror.run(listener));
        Self { directory, address, context, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn metadata(&self, name: &str) -> PathBuf {
        self.directory.path().join("published/metadata").join(name)
    }

    pub fn artifact(&self, digest: Sha256) -> PathBuf {
        self.directory.path().join("artifacts").join(digest.to_string())
    }

    /// Writes a file as the coordinator does: under another name first.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let temporary = self.metadata(".new");
        std::fs::write(&temporary, bytes).unwrap();
        std::fs::rename(temporary, self.metadata(name)).unwrap();
    }

    /// Publishes a repository, its timestamp last.
    pub fn publish(&self, repository: &Repository) {
        for (name, bytes) in repository.files.iter().filter(|(name, _)| *name != "timestamp.json") {
            self.put(name, bytes);
        }
        self.put("timestamp.json", &repository.files["timestamp.json"]);
    }

    pub fn store(&self, content: &[u8]) -> Sha256 {
        let digest = Sha256::of(content);
        std::fs::write(self.artifact(digest), content).unwrap();
        digest
    }

    /// Stores an artifact that is so long that whoever waits for its digest can leave meanwhile, and takes no room. Its
    /// bytes are not those of its name, which is known when they have been hashed.
    pub fn store_long(&self, byte: u8) -> Sha256 {
        let digest = Sha256::from([byte; 32]);
        File::create(self.artifact(digest)).unwrap().set_len(160 << 20).unwrap();
        digest
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(self.url(path)).await.unwrap()
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let request = reqwest::Client::new().get(self.url(path));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
    }

    /// Sends a request byte for byte as given.
    pub async fn send(&self, path: &str) -> TcpStream {
        request(TcpStream::connect(self.address).await.unwrap(), path).await
    }

    /// As [`Self::send`], from one of the addresses of this machine, 127.0.0.0 + `host`.
    pub async fn send_from(&self, host: u8, path: &str) -> TcpStream {
        self.send_over(TcpSocket::new_v4().unwrap(), host, path).await
    }

    /// As [`Self::send_from`], over a socket that holds little.
    pub async fn send_narrow(&self, host: u8, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(NARROW_BYTES).unwrap();
        self.send_over(socket, host, path).await
    }

    async fn send_over(&self, socket: TcpSocket, host: u8, path: &str) -> TcpStream {
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        request(socket.connect(self.address).await.unwrap(), path).await
    }

    /// Sends a request byte for byte as given, and reads the whole answer.
    pub async fn raw(&self, path: &str) -> String {
        let answer = read_to_end(self.send(path).await).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

async fn request(mut stream: TcpStream, path: &str) -> TcpStream {
    let request = format!("GET {path} HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

pub async fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // An answer that is cut off ends with an error, too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

/// The body of an answer read from a socket.
pub fn body_of(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    &answer[end + 4..]
}

pub fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Bytes that show where they come from.
pub fn pattern(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).take(length).collect()
}

/// The status and the body of the next answer on a connection.
pub async fn answer(stream: &mut (impl AsyncReadExt + Unpin), with_body: bool) -> (u16, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; if with_body { length.unwrap().parse().unwrap() } else { 0 }];
    stream.read_exact(&mut body).await.unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// Waits until something holds.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap();
}

impl Running {
    /// Files of a kind whose hashing has begun.
    pub fn hashed(&self, kind: &str) -> u64 {
        let metrics = self.context.metrics.encode().unwrap();
        let name = format!("rstuf_files_hashed_total{{service=\"mirror\",kind=\"{kind}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }
}

/// Clients that wait for digests: two whose files are being hashed, which is all that are at a time, and one more.
pub async fn hashing(mirror: &Running) -> [TcpStream; 3] {
    let long = [7, 8, 9].map(|byte| format!("/targets/{}.long", mirror.store_long(byte)));
    let (first, second) = (mirror.send(&long[0]).await, mirror.send(&long[1]).await);
    eventually(|| mirror.hashed("artifact") == 2).await;
    let mut third = TcpStream::connect(mirror.address).await.unwrap();
    let requests = ["/metadata/none", &long[2]].map(|path| format!("GET {path} HTTP/1.1\r\nHost: mirror\r\n\r\n"));
    third.write_all(requests.concat().as_bytes()).await.unwrap();
    // Both have been read when the first was answered.
    assert_eq!(answer(&mut third, true).await.0, 404);
    [first, second, third]
}
