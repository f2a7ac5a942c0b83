//! Who else may answer where a coordinator should.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::transport::Uri;

/// How long somebody may take to tell who they are.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How every answer in HTTP/1 begins; gRPC is HTTP/2.
const HTTP1: &[u8] = b"HTTP/1.";

/// Whether `server`, `http://HOST:PORT`, speaks HTTP/1, as the mirror does and no coordinator.
pub(super) async fn speaks_http1(server: &str) -> bool {
    let Ok(uri) = server.parse::<Uri>() else { return false };
    let Some(authority) = uri.authority() else { return false };
    let asked = tokio::time::timeout(ASK_TIMEOUT, ask(authority.as_str())).await;
    matches!(asked, Ok(Ok(true)))
}

async fn ask(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("HEAD / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut start = [0; HTTP1.len()];
    stream.read_exact(&mut start).await?;
    Ok(start == HTTP1)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(with: &'static [u8]) -> bool {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(with).await.unwrap();
        };
        tokio::join!(speaks_http1(&server), serving).0
    }

    #[tokio::test]
    async fn who_answers_in_http1_is_told_from_who_does_not() {
        assert!(answer(b"HTTP/1.1 404 Not Found\r\n\r\n").await);
        // The frame that an HTTP/2 server begins with.
        assert!(!answer(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await);
        assert!(!answer(b"").await);
        assert!(!speaks_http1("http://127.0.0.1:1").await);
    }
}
