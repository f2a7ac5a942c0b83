//! The whole coordinator, put together.

use std::{sync::Arc, time::Duration};

use rand::rngs::StdRng;
use rstuf_api::limits;
use rstuf_runtime::{
    CALL_MAX, Clock, Context, Hold, Liveness, Readiness, ServeOptions, Shutdown, liveness::idle, names,
};
use rstuf_store::{Options, Store};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    Config, Error, Result,
    batcher::{Batcher, Refusals, Renewals, Sizes},
    effects::{Effects, StopAt},
    grpc::{self, Shared},
    handles::Handles,
    ids::Ids,
    intake::{Intake, IntakeTask},
    journal::Journal,
    lane::{Lane, LaneHandle},
    metrics::CoordinatorMetrics,
    pace::Pace,
    published::{Published, expiry_metrics::ExpiryMetrics, index::Index, retention::Retention},
    publisher::{DirectoryPublisher, Publisher},
    signers::{Endpoint, Signers},
    start::{self, ceremony::Ceremonies},
    tasks::Tasks,
    troubles::Troubles,
    watch,
};

/// How often what is too old is looked for.
const FORGET_PERIOD: Duration = Duration::from_secs(3_600);

/// What is given to a coordinator besides its configuration.
pub struct Parts {
    /// The process around it.
    pub context: Context,
    /// Randomness for ids.
    pub random: StdRng,
    /// Where to stop; in production nowhere: see [`Parts::new`].
    pub stop_at: StopAt,
}

impl Parts {
    /// For production.
    pub fn new(context: Context) -> Self {
        Self { context, random: rand::make_rng(), stop_at: Arc::new(|_, _| None) }
    }
}

/// A coordinator that is ready to run.
pub struct Coordinator {
    context: Context,
    config: Config,
    shared: Shared,
    store: Store,
    intake: IntakeTask,
    batcher: Batcher,
    lane: Lane,
    retention: Retention,
}

impl Coordinator {
    /// Opens the state directory and puts everything together. Nothing is asked of a signer yet.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Publish`] say what is wrong with which directory.
    pub async fn build(config: Config, parts: Parts) -> Result<Self> {
        let Parts { context, random, stop_at } = parts;
        let store = Store::open(Options::new(&config.common.state_dir, "coordinator"))?;
        let journal = Journal::open(store.clone(), &context.metrics)?;
        let owner = format!("process {}, state directory {}", std::process::id(), config.common.state_dir.display());
        let publisher: Arc<dyn Publisher> = Arc::new(DirectoryPublisher::open(&config.published_dir, &owner)?);
        let published = Published::load(&journal, publisher.clone())?;
        let clock = context.clock.watched();
        let handles = Handles {
            tasks: Tasks::new(journal.clone(), &context.metrics),
            signers: signers(&config, context.readiness.clone())?,
            steady: clock.steady(),
            clock,
            ids: Ids::new(random),
            effects: Effects::new(&context.metrics, stop_at),
            troubles: Troubles::new(context.readiness.clone()),
            shutdown: context.shutdown.clone(),
            journal,
            published,
            publisher,
        };
        let Handles { published, clock, steady, .. } = handles.clone();
        let directories = [("state", config.common.state_dir.clone()), ("published", config.published_dir.clone())];
        context.metrics.show_free_bytes(directories);
        context.metrics.register_collector(ExpiryMetrics::new(published, clock));
        let (intake, intake_task) = Intake::load(&handles, &context.metrics).await?;
        context.metrics.register_collector(CoordinatorMetrics::new(handles.clone(), &intake));
        let index = Index::new(config.common.state_dir.clone());
        let (pace, retention) = (Pace::new(), Retention::new(config.superseded_grace, steady));
        let (lane_handle, requests) = LaneHandle::new();
        let lane = Lane {
            handles: handles.clone(),
            index: index.clone(),
            retention: retention.clone(),
            pace: pace.clone(),
            publications: context.metrics.counter(names::PUBLICATIONS, "publications that became visible"),
            requests,
        };
        let batcher = Batcher {
            handles: handles.clone(),
            intake: intake.clone(),
            lane: lane_handle,
            pace,
            renewals: Renewals::new(),
            refusals: Refusals::default(),
            retention: retention.clone(),
            sizes: Sizes::new(&context.metrics),
        };
        let ceremonies = Arc::new(Ceremonies::new(handles.clone()));
        let shared = Shared { handles, intake, index, ceremonies };
        Ok(Self { context, config, shared, store, intake: intake_task, batcher, lane, retention })
    }

    /// Serves and publishes until the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        let Self { context, config, shared, store, intake, batcher, lane, retention } = self;
        // Callers would wait for the disk.
        store.refuse_workers();
        let opening = context.readiness.hold("reading the journal");
        let options = ServeOptions {
            // The ceremony waits for signers as long as they need.
            stall_timeout: CALL_MAX,
            long_answers: grpc::is_long,
            ..ServeOptions::new(&context)
                .with_services(&grpc::SERVICES, rstuf_api::descriptors(&grpc::SERVICES), limits::request_bytes_max)
                .with_common(&config.common)
        };
        let Handles { journal, published, publisher, steady, shutdown, .. } = shared.handles.clone();
        let mut parts: JoinSet<Result<()>> = JoinSet::new();
        let liveness = context.liveness.clone();
        parts.spawn(async move { liveness.watch("intake", intake.run()).await });
        parts.spawn(shared.ceremonies.clone().run());
        parts.spawn(publish(shared.clone(), batcher, lane, context.liveness.clone(), opening));
        parts.spawn(retention.run(published, publisher, shutdown.clone()));
        parts.spawn(watch::signers(shared.handles.clone()));
        parts.spawn(forget(journal, shared.intake.clone(), steady, shutdown.clone()));
        parts.spawn(watch::space(shared.handles.clone()));
        parts.spawn(watch::clock(shared.handles.clone(), context.readiness.clone()));
        let server = rstuf_runtime::serve(listener, grpc::routes(shared), options, shutdown);
        let failed = async {
            while let Some(ended) = parts.join_next().await {
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return anyhow::Error::from(error),
                    Err(panic) => return anyhow::anyhow!("a part of the coordinator died: {panic}"),
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            served = server => served?,
            error = failed => return Err(error),
            error = store.failed() => return Err(error.into()),
        }
        let ended = async {
            while let Some(ended) = parts.join_next().await {
                ended??;
            }
            Ok::<_, anyhow::Error>(())
        };
        match tokio::time::timeout(config.common.process.shutdown_deadline, ended).await {
            Ok(ended) => ended?,
            Err(_) => {
                tracing::warn!(
                    "a signer does not answer: the step under way is cut short, the next start goes on with it"
                );
                parts.shutdown().await;
            }
        }
        store.close().await?;
        Ok(())
    }
}

/// What publishes: first whatever the last process left, then what comes.
async fn publish(shared: Shared, batcher: Batcher, lane: Lane, liveness: Liveness, opening: Hold) -> Result<()> {
    let handles = &shared.handles;
    start::prepare(handles, opening).await?;
    let batches = async {
        // After a ceremony there is nothing yet that signers could know better.
        if let Some(repository) = handles.published.repository() {
            // Until then a batch may be in the lane.
            tokio::select! {
                () = idle(shared.index.wait_caught_up()) => {}
                () = handles.shutdown.wait() => return Ok(()),
            }
            start::compare(handles, &shared.intake, &repository).await?;
        }
        batcher.run().await
    };
    let stop = &handles.shutdown;
    let (batches, lane) = (liveness.watch("batcher", batches), liveness.watch("lane", lane.run()));
    let (batches, lane) = (until_stopped(stop, batches), until_stopped(stop, lane));
    tokio::try_join!(batches, lane, keep_index(&shared)).map(|_| ())
}

/// At a shutdown the batcher and the lane stop between two steps, also while one waits for the other: that is no
/// failure.
async fn until_stopped(shutdown: &Shutdown, part: impl Future<Output = Result<()>>) -> Result<()> {
    match part.await {
        Err(Error::Stopping) if shutdown.is_triggered() => Ok(()),
        ended => ended,
    }
}

async fn keep_index(shared: &Shared) -> Result<()> {
    let Handles { published, troubles, shutdown, .. } = &shared.handles;
    let keep = async {
        published.wait_repository().await;
        shared.index.run(published, troubles, shutdown.clone()).await
    };
    tokio::select! {
        ended = keep => ended,
        () = shutdown.wait() => Ok(()),
    }
}

/// Moves finished tasks out of the way, and forgets what is too old: those, and imports to which nobody appends.
async fn forget(journal: Journal, intake: Intake, clock: Clock, shutdown: Shutdown) -> Result<()> {
    while !shutdown.is_triggered() {
        let forgotten = async {
            journal.keep_history(clock.now()).await?;
            intake.imports().delete_lapsed().await
        };
        let forgotten = forgotten.await;
        let done = forgotten.is_ok();
        match forgotten {
            Err(Error::Stopping) => return Ok(()),
            Err(error) if error.is_transient() || matches!(error, Error::DiskFull) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what is too old is kept until there is space"
                );
            }
            forgotten => forgotten?,
        }
        tokio::select! {
            () = clock.sleep(FORGET_PERIOD) => {}
            () = journal.history_due(), if done => {}
            () = shutdown.wait() => {}
        }
    }
    Ok(())
}

fn signers(config: &Config, readiness: Readiness) -> Result<Signers> {
    let [targets, snapshot, timestamp] = &config.signers;
    let endpoint = |uri: &String| {
        let channel = rstuf_runtime::connect(uri).map_err(|error| Error::field("signer", error.to_string()))?;
        Ok::<_, Error>(Endpoint { uri: uri.clone(), channel })
    };
    Ok(Signers::new([endpoint(targets)?, endpoint(snapshot)?, endpoint(timestamp)?], readiness))
}
