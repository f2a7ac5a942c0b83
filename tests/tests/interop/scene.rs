//! A repository, what its clients must find in it, and clients that keep their state while it changes.

use std::path::Path;

use jiff::Timestamp;
use rstuf_api::proto::tasks::v1::{Outcome, Task};
use rstuf_tests::{Builder, Client, Expected, TestRepo, python, tough_judge};
use tempfile::TempDir;

pub(crate) struct Scene {
    pub(crate) repo: TestRepo,
    pub(crate) expected: Expected,
    python: python::Judge,
    tough: Option<tough_judge::Judge>,
    state: TempDir,
}

impl Scene {
    pub(crate) async fn start(layout: &str) -> anyhow::Result<Self> {
        Self::with(layout, TestRepo::builder()).await
    }

    pub(crate) async fn with(layout: &str, builder: Builder) -> anyhow::Result<Self> {
        let repo = builder.layout(layout).start().await?;
        let state = tempfile::tempdir()?;
        let root = repo.root_bytes()?;
        let tough = tough_judge::Judge::new(state.path().join("tough"), &root);
        Ok(Self {
            python: python::Judge::new(state.path().join("python"), &root)?,
            tough: (!layout.starts_with("succinct")).then_some(tough),
            repo,
            expected: Expected::new(),
            state,
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.repo.client()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.repo.clock().now()
    }

    /// Every client has kept documents of delegated roles, each with the role that it is of in a field unknown to it.
    pub(crate) fn judges_kept_roles(&self) -> anyhow::Result<()> {
        keeps_roles(&self.state.path().join("python/metadata"))?;
        match &self.tough {
            Some(_) => keeps_roles(&self.state.path().join("tough")),
            None => Ok(()),
        }
    }

    /// One more python-tuf client, with state of its own.
    pub(crate) fn another_client(&self, name: &str) -> anyhow::Result<python::Judge> {
        python::Judge::new(self.state.path().join(name), &self.repo.root_bytes()?)
    }

    /// The verdicts one by one: python-tuf's, and tough's where it judges.
    pub(crate) async fn verdicts(&self, now: Timestamp) -> Vec<anyhow::Result<()>> {
        let mut verdicts = vec![self.python.check(self.repo.mirror_url(), &self.expected, Some(now)).await];
        if let Some(tough) = &self.tough {
            verdicts.push(tough.check(self.repo.mirror_url(), &self.expected).await);
        }
        verdicts
    }

    /// Every client finds what it must, at the repository's time.
    pub(crate) async fn judge(&self) -> anyhow::Result<()> {
        self.verdicts(self.now()).await.into_iter().collect()
    }

    pub(crate) async fn add(&mut self, files: &[(&str, &[u8])]) -> anyhow::Result<Task> {
        let task = self.client().add(files).await?;
        self.expect(files);
        Ok(task)
    }

    pub(crate) fn expect(&mut self, files: &[(&str, &[u8])]) {
        self.expected.extend(files.iter().map(|(path, bytes)| (path.to_string(), Some(bytes.to_vec()))));
    }

    pub(crate) async fn remove(&mut self, paths: &[&str]) -> anyhow::Result<Task> {
        let task = self.client().remove(paths).await?;
        self.expected.extend(paths.iter().map(|path| (path.to_string(), None)));
        Ok(task)
    }

    pub(crate) async fn outcomes(&self, task: &Task) -> anyhow::Result<Vec<Outcome>> {
        Ok(self.client().results(&task.id).await?.iter().map(|result| result.outcome()).collect())
    }

    /// Files of published metadata, by name.
    pub(crate) fn metadata_files(&self) -> anyhow::Result<Vec<String>> {
        let files = std::fs::read_dir(self.repo.metadata_dir())?;
        let mut names = files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.by_ref().collect::<anyhow::Result<_>>()?;
        names.sort();
        Ok(names)
    }
}

/// A client's documents of delegated roles, of which there are some, say in a signed field which role each is of: it
/// was given them so, and took them so.
pub(crate) fn keeps_roles(metadata_dir: &Path) -> anyhow::Result<()> {
    let mut count = 0;
    for file in std::fs::read_dir(metadata_dir)? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // Clients prefix some names with the version.
        let role = name.rsplit('.').next().unwrap_or_default();
        if path.is_dir() || !role.starts_with("bins-") {
            continue;
        }
        let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        anyhow::ensure!(document["signed"]["x-rstuf-role"] == role, "{}: {document}", path.display());
        count += 1;
    }
    anyhow::ensure!(count > 0, "no document of a bin in {}", metadata_dir.display());
    Ok(())
}
