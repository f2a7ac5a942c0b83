//! A whole system in one process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use rstuf_coordinator::effects::StopAt;
use rstuf_runtime::{Clock, ManualClock, Shutdown};
use rstuf_standalone::{Options, Standalone};
use rstuf_tuf::Layout;
use tempfile::TempDir;

use crate::Client;

/// How a [`TestRepo`] is started.
#[derive(Default)]
pub struct Builder {
    layout: Option<String>,
    start: Option<Timestamp>,
    stop_at: Option<StopAt>,
    dir: Option<PathBuf>,
    document_bytes_max: Option<usize>,
    removals_per_publication_max: Option<String>,
    superseded_grace: Option<Duration>,
}

impl Builder {
    /// `flat`, `succinct:N` or `prefix:N`; the product's default otherwise.
    #[must_use]
    pub fn layout(mut self, layout: impl Into<String>) -> Self {
        self.layout = Some(layout.into());
        self
    }

    /// Runs on a clock that stands at `start` until the test moves it; on the system's otherwise.
    #[must_use]
    pub fn manual_clock(mut self, start: Timestamp) -> Self {
        self.start = Some(start);
        self
    }

    /// Where the coordinator stops.
    #[must_use]
    pub fn stop_at(mut self, stop_at: StopAt) -> Self {
        self.stop_at = Some(stop_at);
        self
    }

    /// Keeps everything in a directory of the test's own, which may hold a repository already.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What a role may lose in one publication: any otherwise.
    #[must_use]
    pub fn removals_per_publication_max(mut self, allowance: impl Into<String>) -> Self {
        self.removals_per_publication_max = Some(allowance.into());
        self
    }

    /// The largest document that the targets signer signs, in bytes.
    #[must_use]
    pub fn document_bytes_max(mut self, bytes: usize) -> Self {
        self.document_bytes_max = Some(bytes);
        self
    }

    /// How long superseded metadata stays.
    #[must_use]
    pub fn superseded_grace(mut self, grace: Duration) -> Self {
        self.superseded_grace = Some(grace);
        self
    }

    /// Starts it, with the ceremony if there was none, and waits until the first publication is visible.
    ///
    /// # Errors
    /// What a service says.
    pub async fn start(self) -> anyhow::Result<TestRepo> {
        let (dir, temporary) = match self.dir {
            Some(dir) => (dir, None),
            None => {
                let temporary = tempfile::tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let mut options = Options::new(dir);
        if let Some(layout) = self.layout {
            options.layout = layout.parse::<Layout>()?;
        }
        options.stop_at = self.stop_at.unwrap_or(options.stop_at);
        options.removals_per_publication_max = self.removals_per_publication_max;
        options.document_bytes_max = self.document_bytes_max.unwrap_or(options.document_bytes_max);
        options.superseded_grace = self.superseded_grace.unwrap_or(options.superseded_grace);
        let (clock, manual) = match self.start {
            Some(start) => {
                let (clock, manual) = Clock::manual(start);
                (clock, Some(manual))
            }
            None => (Clock::system(), None),
        };
        let running = Some(Standalone::start(options.clone(), clock.clone(), Shutdown::new()).await?);
        Ok(TestRepo { options, clock, manual, running, _temporary: temporary })
    }
}

/// A whole system in one process; its data goes when it is dropped, unless the test named the directory.
pub struct TestRepo {
    options: Options,
    clock: Clock,
    manual: Option<ManualClock>,
    running: Option<Standalone>,
    _temporary: Option<TempDir>,
}

impl TestRepo {
    /// To be configured and started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Of the coordinator, `http://HOST:PORT`; another one after each start.
    pub fn coordinator_url(&self) -> &str {
        &self.running().coordinator_url
    }

    /// Of the mirror, `http://HOST:PORT`; another one after each start.
    pub fn mirror_url(&self) -> &str {
        &self.running().mirror_url
    }

    /// Of the admin port of a service, `http://HOST:PORT`.
    pub fn admin_url(&self, service: &str) -> &str {
        &self.running().admin_urls[service]
    }

    /// A build system that talks to it.
    pub fn client(&self) -> Client {
        Client::connect(self.coordinator_url(), self.options.artifacts_dir()).expect("a url of ours")
    }

    /// The time in it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Moves its time.
    pub fn manual(&self) -> &ManualClock {
        self.manual.as_ref().expect("built with `manual_clock`")
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        &self.options.data_dir
    }

    /// Where the published metadata is.
    pub fn metadata_dir(&self) -> PathBuf {
        self.data_dir().join("published/metadata")
    }

    /// The first root: what its clients trust from the start.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn root_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let file = self.metadata_dir().join("1.root.json");
        std::fs::read(&file).with_context(|| format!("can't read {}", file.display()))
    }

    /// Stops every service; [`TestRepo::start`] goes on.
    ///
    /// # Errors
    /// What a service ended with: of one that was stopped dead, that it was.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some(running) => crate::within("the stop", running.stop()).await?,
            None => Ok(()),
        }
    }

    /// Waits until a service fails, then stops the rest; [`TestRepo::start`] goes on.
    ///
    /// # Errors
    /// When none fails.
    pub async fn failure(&mut self) -> anyhow::Result<anyhow::Error> {
        let mut running = self.running.take().context("it does not run")?;
        let failure = crate::within("a failure", running.failure()).await?;
        // Its own end is the failure; that the others end is all that counts.
        let _ = crate::within("the stop", running.stop()).await?;
        Ok(failure)
    }

    /// Starts it again where it was.
    ///
    /// # Errors
    /// What a service says.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        // A program that another test starts holds the locks of this process, until it is on its own.
        let is_held = |error: &anyhow::Error| format!("{error:#}").contains("by another");
        crate::until("the directories are free", async || {
            let start = Standalone::start(self.options.clone(), self.clock.clone(), Shutdown::new());
            match crate::within("the start", Box::pin(start)).await? {
                Ok(running) => self.running = Some(running),
                Err(error) if is_held(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
            Ok(true)
        })
        .await
    }

    /// Stops and starts it again.
    ///
    /// # Errors
    /// As [`TestRepo::stop`] and [`TestRepo::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.start().await
    }

    fn running(&self) -> &Standalone {
        self.running.as_ref().expect("it does not run: `start` it first")
    }
}
