//! An HTTP server that answers whatever a test wants, however wrong.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use tokio::net::TcpListener;

#[derive(Clone)]
pub enum Reply {
    Bytes(Vec<u8>),
    Status(StatusCode),
    /// Bytes without end and without an announced length.
    Endless,
    /// One byte, and then nothing.
    Stalled,
}

/// A running server: what it answers by path, and the paths that it was asked for.
#[derive(Clone, Default)]
pub struct Server {
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub async fn start() -> (Self, String) {
        let server = Self::default();
        let answering = server.clone();
        let app = Router::new().fallback(async move |uri: Uri| answering.answer(uri.path()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (server, url)
    }

    pub fn put(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub fn remove(&self, path: &str) {
        self.replies.lock().unwrap().remove(path);
    }

    /// Makes these the only files in `/metadata`.
    pub fn publish(&self, files: &BTreeMap<String, Vec<u8>>) {
        let mut replies = self.replies.lock().unwrap();
        replies.retain(|path, _| !path.starts_with("/metadata/"));
        replies.extend(files.iter().map(|(name, bytes)| (format!("/metadata/{name}"), Reply::Bytes(bytes.clone()))));
    }

    /// What was asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn answer(&self, path: &str) -> Response {
        self.asked.lock().unwrap().push(path.to_owned());
        let piece = |bytes: &'static [u8]| Ok::<_, std::io::Error>(Bytes::from_static(bytes));
        match self.replies.lock().unwrap().get(path).cloned() {
            None => StatusCode::NOT_FOUND.into_response(),
            Some(Reply::Status(status)) => status.into_response(),
            Some(Reply::Bytes(bytes)) => bytes.into_response(),
            Some(Reply::Endless) => {
                Body::from_stream(stream::repeat_with(move || piece(&[b' '; 1024]))).into_response()
            }
            Some(Reply::Stalled) => {
                let rest = stream::once(tokio::time::sleep(Duration::from_secs(3_600))).map(move |()| piece(b""));
                Body::from_stream(stream::iter([piece(b"{")]).chain(rest)).into_response()
            }
        }
    }
}
