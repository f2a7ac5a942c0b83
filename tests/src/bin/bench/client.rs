//! A build system, and a client of the mirror.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use rand::rngs::StdRng;
use rstuf_api::proto::{
    artifacts::v1::{self as proto, artifact_service_client::ArtifactServiceClient},
    repository::v1::{self as repository, repository_service_client::RepositoryServiceClient},
    tasks::v1::{TaskState, WatchTaskRequest, task_service_client::TaskServiceClient},
};
use rstuf_runtime::{Channel, Clock, retry::Policy};
use rstuf_tuf::{Envelope, RoleName, Sha256, Snapshot, TargetPath, Timestamp};
use rstuf_updater::{Options, Updater};

use crate::system::System;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// Changes in one message of an import.
const CHANGES_PER_MESSAGE: u64 = 10_000;

/// One caller. Clones share the connections.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    http: reqwest::Client,
    mirror_url: String,
}

/// The artifact of a number. `content` makes another one of the same path.
pub(crate) fn artifact(number: u64, content: u64) -> proto::Change {
    let path = format!("project-{}/release-{}/artifact-{number}.tar.gz", number % 977, number % 31);
    let digest = Sha256::of(format!("{number} {content}").as_bytes());
    let hash = proto::Hash {
        algorithm: proto::HashAlgorithm::Sha256.into(),
        digest: Bytes::copy_from_slice(digest.as_bytes()),
    };
    let artifact = proto::Artifact { path, length: 1_000_000 + number, hashes: vec![hash], custom_json: String::new() };
    proto::Change { kind: Some(proto::change::Kind::Add(artifact)) }
}

/// The removal of a path that is not there.
pub(crate) fn absence(number: u64) -> proto::Change {
    proto::Change { kind: Some(proto::change::Kind::RemovePath(format!("absent/{number}"))) }
}

fn path_of(change: &proto::Change) -> anyhow::Result<TargetPath> {
    match &change.kind {
        Some(proto::change::Kind::Add(artifact)) => Ok(artifact.path.as_str().try_into()?),
        Some(proto::change::Kind::RemovePath(path)) => Ok(path.as_str().try_into()?),
        None => bail!("an empty change"),
    }
}

impl Client {
    /// Connects to a system.
    pub(crate) fn new(system: &System) -> anyhow::Result<Self> {
        let channel = rstuf_runtime::connect(&system.coordinator_url())?;
        Ok(Self { channel, http: reqwest::Client::new(), mirror_url: system.mirror_url() })
    }

    /// Number of publications so far.
    pub(crate) async fn publications(&self) -> anyhow::Result<u64> {
        let mut client = RepositoryServiceClient::new(self.channel.clone());
        Ok(client.get_status(repository::GetStatusRequest {}).await?.into_inner().publication)
    }

    /// Submits one request; answers with its task as soon as it is acknowledged. A full queue is asked again.
    pub(crate) async fn submit(&self, changes: Vec<proto::Change>) -> anyhow::Result<String> {
        self.submit_as("", changes).await
    }

    /// The same, with a request id.
    pub(crate) async fn submit_as(&self, request_id: &str, changes: Vec<proto::Change>) -> anyhow::Result<String> {
        let mut client = ArtifactServiceClient::new(self.channel.clone());
        let request = proto::SubmitArtifactsRequest { request_id: request_id.to_owned(), changes, hold: false };
        let policy = Policy { attempts_max: u32::MAX, elapsed_max: DEADLINE, ..Policy::default() };
        let (mut attempts, mut random) = (policy.attempts(), rand::make_rng::<StdRng>());
        loop {
            match client.submit_artifacts(request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner().task.context("no task")?.id),
                Err(status) => attempts.again(status, &mut random).await?,
            }
        }
    }

    /// Imports the artifacts of these numbers as one publication, and waits until it is visible.
    pub(crate) async fn import(&self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        let mut client = ArtifactServiceClient::new(self.channel.clone());
        let begins = numbers.clone().step_by(usize::try_from(CHANGES_PER_MESSAGE)?);
        let messages = begins.map(move |begin| proto::ImportArtifactsRequest {
            request_id: String::new(),
            changes: (begin..numbers.end.min(begin + CHANGES_PER_MESSAGE)).map(|number| artifact(number, 0)).collect(),
            hold: false,
        });
        let answer = client.import_artifacts(tokio_stream::iter(messages)).await?.into_inner();
        self.wait(answer.task.context("no task")?.id).await
    }

    /// A page of the list of all artifacts.
    pub(crate) async fn page(
        &self,
        page_size: u32,
        page_token: String,
    ) -> anyhow::Result<proto::ListArtifactsResponse> {
        let mut client = ArtifactServiceClient::new(self.channel.clone());
        let request = proto::ListArtifactsRequest { page_size, page_token, ..Default::default() };
        Ok(client.list_artifacts(request).await?.into_inner())
    }

    /// Waits until a task is done.
    pub(crate) async fn wait(&self, id: String) -> anyhow::Result<()> {
        let mut client = TaskServiceClient::new(self.channel.clone());
        let watch = async {
            let mut watch = client.watch_task(WatchTaskRequest { id }).await?.into_inner();
            let mut last = None;
            while let Some(message) = watch.message().await? {
                last = message.task;
            }
            last.context("the watch of a task is empty")
        };
        let task = tokio::time::timeout(DEADLINE, watch).await.context("a task takes too long")??;
        ensure!(task.state() == TaskState::Done, "a task ended as {}: {:?}", task.state().as_str_name(), task.error);
        Ok(())
    }

    /// Fetches timestamp.json and the snapshot that it names; waits for version `least` of the timestamp. Answers its
    /// version. Nothing is verified here: that would be the client's time.
    pub(crate) async fn wait_visible(&self, least: u32) -> anyhow::Result<u32> {
        let begun = Instant::now();
        loop {
            let timestamp: Timestamp = Envelope::parse(&self.fetch("timestamp.json").await?)?.decode()?;
            if timestamp.version.get() >= least {
                self.fetch(&format!("{}.snapshot.json", timestamp.snapshot.version)).await?;
                return Ok(timestamp.version.get());
            }
            ensure!(begun.elapsed() < DEADLINE, "timestamp version {least} does not become visible");
            tokio::task::yield_now().await;
        }
    }

    /// The snapshot that is published now, and its exact bytes.
    pub(crate) async fn snapshot(&self) -> anyhow::Result<(Snapshot, Bytes)> {
        let timestamp: Timestamp = Envelope::parse(&self.fetch("timestamp.json").await?)?.decode()?;
        let bytes = self.fetch(&format!("{}.snapshot.json", timestamp.snapshot.version)).await?;
        Ok((Envelope::parse(&bytes)?.decode()?, bytes))
    }

    /// The exact bytes of a role's document in a snapshot.
    pub(crate) async fn document(&self, snapshot: &Snapshot, role: &RoleName) -> anyhow::Result<Bytes> {
        let entry = snapshot.meta.get(role).with_context(|| format!("{role} is not in the snapshot"))?;
        self.fetch(&format!("{}.{role}.json", entry.version)).await
    }

    pub(crate) async fn fetch(&self, name: &str) -> anyhow::Result<Bytes> {
        let answer = self.http.get(format!("{}/metadata/{name}", self.mirror_url)).send().await?;
        Ok(answer.error_for_status()?.bytes().await?)
    }

    /// As a TUF client does, verifies everything from root 1 on, and checks that what was submitted last stands there.
    pub(crate) async fn verify(&self, system: &System, change: &proto::Change) -> anyhow::Result<()> {
        let [metadata, targets] = ["metadata", "targets"].map(|folder| format!("{}/{folder}", self.mirror_url));
        let mut updater = Updater::new(Options::new(metadata, targets, system.root()?))?;
        updater.refresh(Clock::system().now()).await?;
        let path = path_of(change)?;
        let found = updater.target(&path).await?.with_context(|| format!("{path} is not published"))?;
        let Some(proto::change::Kind::Add(artifact)) = &change.kind else { bail!("not an addition") };
        let submitted = artifact.hashes.first().map(|hash| hash.digest.clone()).unwrap_or_default();
        ensure!(found.hashes().as_sha256().as_bytes()[..] == submitted[..], "another {path} is published");
        Ok(())
    }
}
