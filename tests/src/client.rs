//! A build system, as tests need one.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use rand::rngs::StdRng;
use rstuf_api::proto::{
    artifacts::v1::{
        self as artifacts, Import, artifact_service_client::ArtifactServiceClient, change::Kind,
        get_import_request::Key,
    },
    repository::v1::{self as repository, repository_service_client::RepositoryServiceClient},
    tasks::v1::{self as tasks, Task, TaskState, task_service_client::TaskServiceClient},
};
use rstuf_runtime::{Channel, retry::Policy};
use sha2::{Digest as _, Sha256};
use tonic::Status;

/// Talks to one coordinator, and puts the bytes of what it adds where the mirror finds them. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    artifacts_dir: PathBuf,
}

/// The change that adds `bytes` under a path.
pub fn addition(path: &str, bytes: &[u8]) -> artifacts::Change {
    let digest = Sha256::digest(bytes).to_vec().into();
    let sha256 = artifacts::Hash { algorithm: artifacts::HashAlgorithm::Sha256.into(), digest };
    let artifact = artifacts::Artifact {
        path: path.to_owned(),
        length: bytes.len() as u64,
        hashes: vec![sha256],
        custom_json: String::new(),
    };
    artifacts::Change { kind: Some(Kind::Add(artifact)) }
}

/// The change that removes a path.
pub fn removal(path: &str) -> artifacts::Change {
    artifacts::Change { kind: Some(Kind::RemovePath(path.to_owned())) }
}

/// What every answer of its kind has.
fn some<T>(answer: Option<T>) -> Result<T, Status> {
    answer.ok_or_else(|| Status::internal("an answer without what was asked for"))
}

impl Client {
    /// A client of the coordinator at `http://HOST:PORT`, which may start later.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn connect(coordinator_url: &str, artifacts_dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self { channel: rstuf_runtime::connect(coordinator_url)?, artifacts_dir: artifacts_dir.into() })
    }

    /// The service itself.
    pub fn artifacts(&self) -> ArtifactServiceClient<Channel> {
        ArtifactServiceClient::new(self.channel.clone())
    }

    /// The service itself.
    pub fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
    }

    /// The service itself.
    pub fn repository(&self) -> RepositoryServiceClient<Channel> {
        RepositoryServiceClient::new(self.channel.clone())
    }

    /// Adds files in one submission and waits until they are published.
    ///
    /// # Errors
    /// What the coordinator says; that the task failed.
    pub async fn add(&self, files: &[(&str, &[u8])]) -> anyhow::Result<Task> {
        let mut changes = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            changes.push(self.file(path, bytes)?);
        }
        self.done(&self.submit(changes).await?).await
    }

    /// Removes paths in one submission and waits until that is published.
    ///
    /// # Errors
    /// As [`Client::add`].
    pub async fn remove(&self, paths: &[&str]) -> anyhow::Result<Task> {
        let changes = paths.iter().map(|path| removal(path)).collect();
        self.done(&self.submit(changes).await?).await
    }

    /// Puts the bytes of a file where the mirror finds them, and answers the change that adds it.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn file(&self, path: &str, bytes: &[u8]) -> anyhow::Result<artifacts::Change> {
        let file = self.artifacts_dir.join(hex::encode(Sha256::digest(bytes)));
        std::fs::write(&file, bytes).with_context(|| format!("can't write {}", file.display()))?;
        Ok(addition(path, bytes))
    }

    /// Submits changes; answers the task's id.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn submit(&self, changes: Vec<artifacts::Change>) -> anyhow::Result<String> {
        let request = artifacts::SubmitArtifactsRequest { changes, ..Default::default() };
        let answer = self.artifacts().submit_artifacts(request).await?;
        Ok(answer.into_inner().task.context("no task")?.id)
    }

    /// Opens an import in steps, or goes on with the one of this request id.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn create_import(&self, request_id: &str, hold: bool) -> Result<Import, Status> {
        let request = artifacts::CreateImportRequest { request_id: request_id.to_owned(), hold };
        some(self.artifacts().create_import(request).await?.into_inner().import)
    }

    /// Appends to an import.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn append_import(&self, id: &str, offset: u64, changes: &[artifacts::Change]) -> Result<Import, Status> {
        let request = artifacts::AppendImportRequest { id: id.to_owned(), offset, changes: changes.to_vec() };
        some(self.artifacts().append_import(request).await?.into_inner().import)
    }

    /// How an open import stands.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn get_import(&self, key: Key) -> Result<Import, Status> {
        let request = artifacts::GetImportRequest { key: Some(key) };
        some(self.artifacts().get_import(request).await?.into_inner().import)
    }

    /// Makes an import a task, whatever it has; answers the task's id.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn commit_import(&self, id: &str) -> Result<String, Status> {
        let request = artifacts::CommitImportRequest { id: id.to_owned(), offset: 0 };
        some(self.artifacts().commit_import(request).await?.into_inner().task).map(|task| task.id)
    }

    /// Drops what a task has in the queue.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn cancel(&self, id: &str) -> Result<Task, Status> {
        let request = tasks::CancelTaskRequest { id: id.to_owned() };
        some(self.tasks().cancel_task(request).await?.into_inner().task)
    }

    /// Waits until a task is finished, either way.
    ///
    /// # Errors
    /// The coordinator's status; that it takes too long.
    pub async fn wait(&self, id: &str) -> anyhow::Result<Task> {
        self.watch(id).await?.pop().context("the watch ended before it began")
    }

    /// As [`Client::wait`], and the task must have succeeded.
    ///
    /// # Errors
    /// As [`Client::wait`]; what failed.
    pub async fn done(&self, id: &str) -> anyhow::Result<Task> {
        let task = self.wait(id).await?;
        match (task.state(), &task.error) {
            (TaskState::Done, _) => Ok(task),
            (state, error) => bail!("task {id} ended as {}: {error:?}", state.as_str_name()),
        }
    }

    /// Watches a task to its end; answers all that was seen.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn watch(&self, id: &str) -> anyhow::Result<Vec<Task>> {
        let request = tasks::WatchTaskRequest { id: id.to_owned() };
        let watched = async {
            let mut stream = self.tasks().watch_task(request).await?.into_inner();
            let mut seen = Vec::new();
            while let Some(answer) = stream.message().await? {
                seen.push(answer.task.context("no task")?);
            }
            anyhow::Ok(seen)
        };
        let seen = crate::within(&format!("task {id}"), watched).await??;
        let last = seen.last().map(Task::state);
        ensure!(
            matches!(last, Some(TaskState::Done | TaskState::Failed | TaskState::Cancelled)),
            "the watch of {id} ended as {last:?}"
        );
        Ok(seen)
    }

    /// The outcome of each change of a task that is done.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn results(&self, id: &str) -> anyhow::Result<Vec<tasks::ChangeResult>> {
        let mut request = tasks::ListTaskResultsRequest { id: id.to_owned(), ..Default::default() };
        let mut results = Vec::new();
        loop {
            let page = self.tasks().list_task_results(request.clone()).await?.into_inner();
            results.extend(page.results);
            if page.next_page_token.is_empty() {
                return Ok(results);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// What the newest publication says of a path.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn get(&self, path: &str) -> anyhow::Result<artifacts::GetArtifactResponse> {
        let request = artifacts::GetArtifactRequest { path: path.to_owned() };
        Ok(self.artifacts().get_artifact(request).await?.into_inner())
    }

    /// All artifacts under a prefix, in pages of the default size.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn list(&self, prefix: &str) -> anyhow::Result<Vec<artifacts::Artifact>> {
        self.list_pages(prefix, 0).await.map(|pages| pages.into_iter().flatten().collect())
    }

    /// All artifacts under a prefix, page by page.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn list_pages(&self, prefix: &str, page_size: u32) -> anyhow::Result<Vec<Vec<artifacts::Artifact>>> {
        let mut request =
            artifacts::ListArtifactsRequest { path_prefix: prefix.to_owned(), page_size, ..Default::default() };
        let mut pages = Vec::new();
        loop {
            let page = self.list_page(&request).await?;
            pages.push(page.artifacts);
            if page.next_page_token.is_empty() {
                return Ok(pages);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// After a start the list has to be rebuilt, and callers are told to try again in a moment.
    async fn list_page(
        &self,
        request: &artifacts::ListArtifactsRequest,
    ) -> anyhow::Result<artifacts::ListArtifactsResponse> {
        let mut random: StdRng = rand::make_rng();
        let mut attempts = Policy { attempts_max: 100, ..Policy::default() }.attempts();
        loop {
            match self.artifacts().list_artifacts(request.clone()).await {
                Ok(page) => return Ok(page.into_inner()),
                Err(status) => attempts.again(status, &mut random).await?,
            }
        }
    }

    /// How the repository does.
    ///
    /// # Errors
    /// The coordinator's status.
    pub async fn status(&self) -> anyhow::Result<repository::GetStatusResponse> {
        Ok(self.repository().get_status(repository::GetStatusRequest {}).await?.into_inner())
    }
}
