//! Judges a repository as the `tough` crate's client sees it: flat and prefix layouts, since it reads no
//! `succinct_roles`. It loads every delegated role, and takes the system's clock for the time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use futures::TryStreamExt as _;
use tough::{
    IntoVec as _, RepositoryLoader, TargetName, Transport, TransportError, TransportErrorKind, TransportStream,
};
use url::Url;

use crate::Expected;

/// A client that keeps its state from one check to the next.
pub struct Judge {
    state_dir: PathBuf,
    root: Vec<u8>,
}

/// Judges once, as a client that begins with the first root.
///
/// # Errors
/// What is wrong.
pub async fn check(mirror_url: &str, root: &[u8], expected: &Expected) -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    Judge::new(state.path(), root).check(mirror_url, expected).await
}

impl Judge {
    /// A client with its state in a directory of its own.
    pub fn new(state_dir: impl AsRef<Path>, root: &[u8]) -> Self {
        Self { state_dir: state_dir.as_ref().to_owned(), root: root.to_owned() }
    }

    /// Updates, and looks for what is expected, bytes and all.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self, mirror_url: &str, expected: &Expected) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.state_dir)?;
        let url = |folder: &str| Url::parse(&format!("{mirror_url}/{folder}/"));
        let loader = RepositoryLoader::new(&self.root, url("metadata")?, url("targets")?)
            .transport(Http(reqwest::Client::new()))
            .datastore(&self.state_dir);
        let repository = loader.load().await.context("tough can't load the repository")?;
        for (path, expected) in expected {
            let name = TargetName::new(path.clone())?;
            let found = match repository.read_target(&name).await.with_context(|| path.clone())? {
                Some(stream) => Some(stream.into_vec().await.with_context(|| path.clone())?),
                None => None,
            };
            match (&found, expected) {
                (None, Some(_)) => bail!("tough: {path} is missing"),
                (Some(_), None) => bail!("tough: {path} should not be there"),
                _ => ensure!(found == *expected, "tough: {path} has other bytes"),
            }
        }
        Ok(())
    }
}

/// Fetches over plain HTTP.
#[derive(Debug, Clone)]
struct Http(reqwest::Client);

#[tough::async_trait]
impl Transport for Http {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed = |kind, error| TransportError::new_with_cause(kind, url.as_str(), error);
        let answer = self.0.get(url.clone()).send().await;
        let answer = answer.map_err(|error| failed(TransportErrorKind::Other, error))?;
        let missing = answer.status() == reqwest::StatusCode::NOT_FOUND;
        let kind = if missing { TransportErrorKind::FileNotFound } else { TransportErrorKind::Other };
        let answer = answer.error_for_status().map_err(|error| failed(kind, error))?;
        // Whole at once: what is asked for here is small.
        let bytes = answer.bytes().await.map_err(|error| failed(TransportErrorKind::Other, error))?;
        Ok(Box::pin(futures::stream::once(async { Ok(bytes) }).into_stream()))
    }
}
