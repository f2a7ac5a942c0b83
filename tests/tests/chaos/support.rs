//! What the tests of this folder share.

use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use rstuf_api::proto::artifacts::v1::{
    Change, ImportArtifactsRequest, PublishArtifactsRequest, SubmitArtifactsRequest,
};
use rstuf_mirror::{ConfigRaw, Mirror};
use rstuf_runtime::{
    Clock, Context, Shutdown,
    config::{self, Setting},
};
use rstuf_tests::{Client, Expected, python::Judge};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Code, Status};

/// A python-tuf client that keeps its state, and a mirror of its own that serves it also while the system is down.
pub(crate) struct Witness {
    judge: Judge,
    mirror_url: String,
    shutdown: Shutdown,
    _state: TempDir,
}

impl Witness {
    /// Watches what is published under `dir`; trusts `root` from the start.
    pub(crate) async fn new(dir: &Path, root: &[u8]) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let path = |folder: &str| Some(Setting::from(dir.join(folder).display().to_string()));
        let raw =
            ConfigRaw { published_dir: path("published"), artifacts_dir: path("artifacts"), ..ConfigRaw::default() };
        let shutdown = Shutdown::new();
        let context = Context::new("mirror", Clock::system(), shutdown.clone());
        let mirror = Mirror::build(&config::checked(&raw)?, context)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mirror_url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(mirror.run(listener));
        Ok(Self { judge: Judge::new(state.path(), root)?, mirror_url, shutdown, _state: state })
    }

    /// Updates now, and finds what is expected.
    pub(crate) async fn sees(&self, expected: &Expected, now: Option<Timestamp>) -> anyhow::Result<()> {
        self.judge.check(&self.mirror_url, expected, now).await
    }

    /// Of the mirror of its own.
    pub(crate) fn mirror_url(&self) -> &str {
        &self.mirror_url
    }

    /// Updates at one mirror of the system instead.
    pub(crate) async fn sees_at(&self, mirror_url: &str, expected: &Expected) -> anyhow::Result<()> {
        self.judge.check(mirror_url, expected, None).await
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// A request that changes something, with its request id: sent again, it is still the same one.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    /// One submission.
    Submit(SubmitArtifactsRequest),
    /// An import of several.
    Import(Vec<ImportArtifactsRequest>),
    /// The publication of what is held.
    Publish(PublishArtifactsRequest),
}

impl Request {
    pub(crate) fn submit(request_id: String, changes: Vec<Change>) -> Self {
        Self::Submit(SubmitArtifactsRequest { request_id, changes, hold: false })
    }

    pub(crate) fn hold(request_id: String, changes: Vec<Change>) -> Self {
        Self::Submit(SubmitArtifactsRequest { request_id, changes, hold: true })
    }

    pub(crate) fn publish(request_id: String) -> Self {
        Self::Publish(PublishArtifactsRequest { request_id })
    }

    /// One message a list of changes.
    pub(crate) fn import(request_id: &str, parts: Vec<Vec<Change>>) -> Self {
        let part = |changes| ImportArtifactsRequest { request_id: request_id.to_owned(), changes, hold: false };
        Self::Import(parts.into_iter().map(part).collect())
    }

    /// Sends it once: the task's id if it is acknowledged, none if the coordinator could not be asked, died, or is
    /// full.
    pub(crate) async fn send(&self, client: &Client) -> anyhow::Result<Option<String>> {
        let mut artifacts = client.artifacts();
        let answer = match self {
            Self::Submit(request) => artifacts.submit_artifacts(request.clone()).await.map(|it| it.into_inner().task),
            Self::Publish(request) => artifacts.publish_artifacts(request.clone()).await.map(|it| it.into_inner().task),
            Self::Import(parts) => {
                let parts = tokio_stream::iter(parts.clone());
                artifacts.import_artifacts(parts).await.map(|it| it.into_inner().task)
            }
        };
        match answer {
            Ok(task) => Ok(Some(task.context("no task")?.id)),
            Err(status) if is_transient(status.code()) => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// Sends it until it is acknowledged.
    pub(crate) async fn acknowledged(&self, client: &Client) -> anyhow::Result<String> {
        let mut id = None;
        rstuf_tests::until("an acknowledgement", async || {
            id = self.send(client).await?;
            Ok(id.is_some())
        })
        .await?;
        id.context("no acknowledgement")
    }
}

/// Asks until the coordinator answers, or refuses, while it is away now and then.
pub(crate) async fn answered<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, Status>,
) -> anyhow::Result<Result<T, Status>> {
    let mut answer = None;
    rstuf_tests::until(what, async || {
        answer = Some(ask().await).filter(|it| it.as_ref().err().is_none_or(|it| !is_transient(it.code())));
        Ok(answer.is_some())
    })
    .await?;
    answer.context("no answer")
}

/// A connection that broke in the middle of an answer is CANCELLED or UNKNOWN.
pub(crate) fn is_transient(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Cancelled | Code::Unknown | Code::ResourceExhausted)
}
