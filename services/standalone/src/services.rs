//! Starting the services.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use rstuf_coordinator::{Coordinator, Parts};
use rstuf_runtime::{
    Clock, Context, admin,
    config::{self, CommonRaw, ProcessRaw, Setting},
    listen,
};
use rstuf_signing::SignerConfigRaw;
use tokio::net::TcpListener;

use crate::{group::Group, options::Options};

/// Admin ports are free ones; `Standalone::admin_urls` says which.
const ANY_PORT: &str = "127.0.0.1:0";
/// The most that signers take.
const CLOCK_JUMP_SECONDS_MAX: u64 = 31_536_000;
const CLOCK_OFF_DAYS_MAX: u64 = 3_650;

/// Services that run.
#[derive(Default)]
pub(crate) struct Services {
    /// Stopped first: what it is in the midst of needs the signers to be finished.
    coordinator: Group,
    others: Group,
}

impl Services {
    /// Stops all and waits for their end; the coordinator first, then what it calls.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let coordinator = self.coordinator.stop().await;
        let others = self.others.stop().await;
        coordinator.and(others)
    }

    /// Waits until one fails.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        tokio::select! {
            failure = self.coordinator.failure() => failure,
            failure = self.others.failure() => failure,
        }
    }
}

/// Starts all of them; answers where their admin ports are, too.
///
/// # Errors
/// Why one does not start; the others are stopped again then.
pub(crate) async fn start(
    options: &Options,
    clock: &Clock,
    coordinator: TcpListener,
    mirror: TcpListener,
) -> anyhow::Result<(Services, BTreeMap<&'static str, String>)> {
    let mut starter = Starter { options, clock, services: Services::default(), admin_urls: BTreeMap::new() };
    let started = starter.all(coordinator, mirror).await;
    let Starter { services, admin_urls, .. } = starter;
    match started {
        Ok(()) => Ok((services, admin_urls)),
        Err(error) => {
            // Whatever started already is stopped; why the next one did not start is what counts.
            let _ = services.stop().await;
            Err(error)
        }
    }
}

struct Starter<'a> {
    options: &'a Options,
    clock: &'a Clock,
    services: Services,
    admin_urls: BTreeMap<&'static str, String>,
}

impl Starter<'_> {
    async fn all(&mut self, coordinator: TcpListener, mirror: TcpListener) -> anyhow::Result<()> {
        let signers = [self.targets().await?, self.snapshot().await?, self.timestamp().await?];
        self.coordinator(coordinator, signers).await?;
        self.mirror(mirror).await
    }

    async fn targets(&mut self) -> anyhow::Result<String> {
        let raw = rstuf_targets::ConfigRaw {
            signer: self.signer("targets"),
            document_bytes_max: Some(setting(self.options.document_bytes_max)),
            removals_per_publication_max: self.options.removals_per_publication_max.as_deref().map(Setting::from),
            ..Default::default()
        };
        let config = config::checked(&raw)?;
        let context = self.context("targets", |it| &mut it.others).await?;
        let service = rstuf_targets::Service::build(&config, context).await?;
        let (listener, url) = free_port().await?;
        self.services.others.spawn(async move { Ok(service.run(listener).await?) });
        Ok(url)
    }

    async fn snapshot(&mut self) -> anyhow::Result<String> {
        let raw = rstuf_snapshot::ConfigRaw { signer: self.signer("snapshot"), ..Default::default() };
        let config = config::checked(&raw)?;
        let context = self.context("snapshot", |it| &mut it.others).await?;
        let service = rstuf_snapshot::Service::build(&config, context).await?;
        let (listener, url) = free_port().await?;
        self.services.others.spawn(async move { Ok(service.run(listener).await?) });
        Ok(url)
    }

    async fn timestamp(&mut self) -> anyhow::Result<String> {
        let raw = rstuf_timestamp::ConfigRaw { signer: self.signer("timestamp") };
        let config = config::checked(&raw)?;
        let context = self.context("timestamp", |it| &mut it.others).await?;
        let service = rstuf_timestamp::Service::build(&config, context).await?;
        let (listener, url) = free_port().await?;
        self.services.others.spawn(async move { Ok(service.run(listener).await?) });
        Ok(url)
    }

    async fn coordinator(&mut self, listener: TcpListener, signers: [String; 3]) -> anyhow::Result<()> {
        let [targets, snapshot, timestamp] = signers;
        let raw = rstuf_coordinator::ConfigRaw {
            common: self.common("coordinator"),
            published_dir: Some(path(&self.options.published_dir())),
            targets_signer: Some(setting(targets)),
            snapshot_signer: Some(setting(snapshot)),
            timestamp_signer: Some(setting(timestamp)),
            superseded_grace_seconds: Some(setting(self.options.superseded_grace.as_secs())),
        };
        let context = self.context("coordinator", |it| &mut it.coordinator).await?;
        let parts = Parts { stop_at: self.options.stop_at.clone(), ..Parts::new(context) };
        let coordinator = Coordinator::build(config::checked(&raw)?, parts).await?;
        self.services.coordinator.spawn(coordinator.run(listener));
        Ok(())
    }

    async fn mirror(&mut self, listener: TcpListener) -> anyhow::Result<()> {
        let raw = rstuf_mirror::ConfigRaw {
            published_dir: Some(path(&self.options.published_dir())),
            artifacts_dir: Some(path(&self.options.artifacts_dir())),
            process: process(),
            ..Default::default()
        };
        let context = self.context("mirror", |it| &mut it.others).await?;
        let mirror = rstuf_mirror::Mirror::build(&config::checked(&raw)?, context)?;
        self.services.others.spawn(async move {
            mirror.run(listener).await;
            Ok(())
        });
        Ok(())
    }

    /// A signer makes its key at the first start only: later, a lost directory must not become a stranger silently.
    fn signer(&self, service: &str) -> SignerConfigRaw {
        let create_key = Some(setting(!self.options.first_root_file().exists()));
        SignerConfigRaw {
            common: self.common(service),
            create_key,
            // A laptop may be off, and a virtual machine on it paused, for as long as it likes.
            clock_jump_seconds_max: Some(setting(CLOCK_JUMP_SECONDS_MAX)),
            clock_off_days_max: Some(setting(CLOCK_OFF_DAYS_MAX)),
            ..Default::default()
        }
    }

    fn common(&self, service: &str) -> CommonRaw {
        CommonRaw {
            listen: Some(setting(ANY_PORT)),
            state_dir: Some(path(&self.options.data_dir.join(service))),
            process: process(),
            ..Default::default()
        }
    }

    async fn context(
        &mut self,
        service: &'static str,
        group: fn(&mut Services) -> &mut Group,
    ) -> anyhow::Result<Context> {
        let shutdown = group(&mut self.services).shutdown().clone();
        let context = Context::new(service, self.clock.clone(), shutdown.clone());
        let (listener, url) = free_port().await?;
        self.admin_urls.insert(service, url);
        let admin = admin::spawn(listener, &context);
        group(&mut self.services).spawn(async move {
            shutdown.wait().await;
            drop(admin);
            Ok(())
        });
        Ok(context)
    }
}

fn process() -> ProcessRaw {
    ProcessRaw { admin_listen: Some(setting(ANY_PORT)), ..Default::default() }
}

async fn free_port() -> anyhow::Result<(TcpListener, String)> {
    let listener = listen::bind(ANY_PORT.parse()?, false).await?;
    let url = url(listener.local_addr()?);
    Ok((listener, url))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn setting(value: impl ToString) -> Setting {
    Setting::from(value.to_string())
}

fn path(path: &Path) -> Setting {
    setting(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the coordinator is in the midst of needs the signers.
    #[tokio::test]
    async fn the_coordinator_has_ended_before_what_it_calls_is_stopped() {
        let mut services = Services::default();
        let (stopped, signers) = (services.coordinator.shutdown().clone(), services.others.shutdown().clone());
        services.coordinator.spawn(async move {
            stopped.wait().await;
            tokio::task::yield_now().await;
            anyhow::ensure!(!signers.is_triggered(), "the signers were stopped before the coordinator was done");
            Ok(())
        });
        let stopped = services.others.shutdown().clone();
        services.others.spawn(async move {
            stopped.wait().await;
            Ok(())
        });
        services.stop().await.unwrap();
    }
}
