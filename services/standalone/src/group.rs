//! Services that are stopped together.

use anyhow::Context as _;
use rstuf_runtime::Shutdown;
use tokio::task::JoinSet;

/// Services that run, and the switch that stops them.
#[derive(Default)]
pub(crate) struct Group {
    shutdown: Shutdown,
    running: JoinSet<anyhow::Result<()>>,
}

impl Group {
    /// What stops them.
    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs one more.
    pub(crate) fn spawn(&mut self, service: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.running.spawn(service);
    }

    /// Stops all and waits for their end.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        let mut first = Ok(());
        while let Some(ended) = self.running.join_next().await {
            first = first.and(ended.context("a service died").and_then(|ended| ended));
        }
        first
    }

    /// Waits until one fails, or none is left.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(panic) => return anyhow::Error::from(panic).context("a service died"),
            }
        }
        anyhow::anyhow!("every service has ended")
    }
}
