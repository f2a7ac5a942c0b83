//! The whole coordinator, put together.

use std::sync::Arc;

use rstuf_api::proto;
use rstuf_runtime::{Clock, Context, ServeOptions, Shutdown, names};
use rstuf_store::{Options, Store};
use tokio::{net::TcpListener, sync::Mutex, sync::Notify, task::JoinSet};

use crate::{
    Config, Error, Result,
    batcher::{Batcher, Sizes},
    effects::{Effects, StopAt},
    grpc,
    intake::{Intake, IntakeTask},
    journal::Journal,
    lane::{Lane, LaneHandle},
    pace::Pace,
    published::Published,
    published::expiry_metrics::ExpiryMetrics,
    published::index::Index,
    published::retention::Retention,
    publisher::{DirectoryPublisher, Publisher},
    signers::{Endpoint, Signers},
    start::ceremony::Ceremonies,
    start::{catch_up, rebuild},
    tasks::{Ids, Tasks},
};

/// How long a request may take until its answer begins: an import is one long request.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Requests worked on at a time: with the largest message each, this bounds what a flood costs in memory.
const REQUESTS_MAX: usize = 128;
/// How often tasks that are too old are looked for.
const FORGET_PERIOD: std::time::Duration = std::time::Duration::from_secs(3_600);

/// What is given to a coordinator besides its configuration.
pub struct Parts {
    /// The process around it.
    pub context: Context,
    /// Randomness for ids.
    pub random: rand::rngs::StdRng,
    /// Where to stop dead; in production nowhere: see [`Parts::new`].
    pub stop_at: StopAt,
}

impl Parts {
    /// For production.
    pub fn new(context: Context) -> Self {
        Self { context, random: rand::make_rng(), stop_at: Arc::new(|_, _| false) }
    }
}

/// What the gRPC services use.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) journal: Journal,
    pub(crate) published: Published,
    pub(crate) intake: Intake,
    pub(crate) tasks: Tasks,
    pub(crate) signers: Signers,
    pub(crate) index: Index,
    pub(crate) ceremonies: Arc<Ceremonies>,
    pub(crate) clock: Clock,
    pub(crate) ids: Arc<Ids>,
    pub(crate) shutdown: Shutdown,
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
    publisher: Arc<dyn Publisher>,
}

impl Coordinator {
    /// Opens the state directory and puts everything together. Nothing is asked of a signer yet.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Publish`] say what is wrong with which directory.
    pub async fn build(config: Config, parts: Parts) -> Result<Self> {
        let Parts { context, random, stop_at } = parts;
        let store = Store::open(Options::new(&config.common.state_dir, "coordinator"))?;
        let journal = Journal::new(store.clone());
        let publisher: Arc<dyn Publisher> = Arc::new(DirectoryPublisher::open(&config.published_dir)?);
        let published = Published::load(&journal, publisher.clone())?;
        let signers = signers(&config)?;
        let (clock, shutdown) = (context.clock.clone(), context.shutdown.clone());
        let ids = Arc::new(Ids::new(random));
        let tasks = Tasks::new(journal.clone(), &context.metrics);
        let index = Index::default();
        let pace = Pace::new();
        let retention = Retention::new(config.superseded_grace);
        let effects = Effects::new(&context.metrics, stop_at);
        let batch = journal.batch()?;
        let (intake, intake_task) = Intake::load(
            journal.clone(),
            published.clone(),
            clock.clone(),
            ids.clone(),
            &context.metrics,
            batch.as_ref(),
        )
        .await?;
        context.metrics.register_collector(ExpiryMetrics::new(published.clone(), clock.clone()));
        let ceremonies = Arc::new(Ceremonies {
            journal: journal.clone(),
            published: published.clone(),
            tasks: tasks.clone(),
            signers: signers.clone(),
            publisher: publisher.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            shutdown: shutdown.clone(),
            one: Mutex::new(()),
            accepted: Notify::new(),
        });
        let (lane_handle, requests) = LaneHandle::new();
        let lane = Lane {
            journal: journal.clone(),
            published: published.clone(),
            tasks: tasks.clone(),
            signers: signers.clone(),
            publisher: publisher.clone(),
            index: index.clone(),
            retention: retention.clone(),
            pace: pace.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            effects: effects.clone(),
            shutdown: shutdown.clone(),
            publications: context.metrics.counter(names::PUBLICATIONS, "publications that became visible"),
            requests,
        };
        let batcher = Batcher {
            journal: journal.clone(),
            published: published.clone(),
            intake: intake.clone(),
            tasks: tasks.clone(),
            signers: signers.clone(),
            publisher: publisher.clone(),
            lane: lane_handle,
            pace,
            clock: clock.clone(),
            ids: ids.clone(),
            effects,
            shutdown: shutdown.clone(),
            sizes: Sizes::new(&context.metrics),
        };
        let shared = Shared { journal, published, intake, tasks, signers, index, ceremonies, clock, ids, shutdown };
        Ok(Self { context, config, shared, store, intake: intake_task, batcher, lane, retention, publisher })
    }

    /// Serves and publishes until the shutdown.
    ///
    /// # Errors
    /// What only a new process can mend.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        let Self { context, config, shared, store, intake, batcher, lane, retention, publisher } = self;
        let recovering = context.readiness.hold("comparing the journal with the signers");
        let options = ServeOptions {
            request_timeout: REQUEST_TIMEOUT,
            requests_max: REQUESTS_MAX,
            health_services: vec![
                "rstuf.artifacts.v1.ArtifactService".to_owned(),
                "rstuf.tasks.v1.TaskService".to_owned(),
                "rstuf.repository.v1.RepositoryService".to_owned(),
            ],
            ..ServeOptions::new(&context).with_reflection(proto::DESCRIPTORS).with_process(&config.common.process)
        };
        let shutdown = context.shutdown.clone();
        let mut parts: JoinSet<Result<()>> = JoinSet::new();
        parts.spawn(intake.run());
        parts.spawn(shared.ceremonies.clone().run());
        parts.spawn(publish(shared.clone(), batcher, lane, recovering));
        parts.spawn(retention.run(shared.published.clone(), publisher, context.clock.clone(), shutdown.clone()));
        parts.spawn(forget_tasks(shared.tasks.clone(), context.clock.clone(), shutdown.clone()));
        let server = rstuf_runtime::serve(listener, grpc::routes(shared), options, shutdown.clone());
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
async fn publish(shared: Shared, batcher: Batcher, lane: Lane, recovering: rstuf_runtime::Hold) -> Result<()> {
    if shared.journal.repository()?.is_none() && shared.journal.ceremony()?.is_none() {
        let task = shared.ids.next(shared.clock.now());
        rebuild::rebuild(&shared, &*lane.publisher, task).await?;
    }
    if let Some(repository) = catch_up::load(&shared.journal, &shared.published).await? {
        catch_up::compare(&shared, &lane.publisher, &repository).await?;
        shared.published.set_repository(repository);
    }
    shared.published.set_started();
    drop(recovering);
    let stop = &shared.shutdown;
    let (batcher, lane) = (until_stopped(stop, batcher.run()), until_stopped(stop, lane.run()));
    tokio::try_join!(batcher, lane, build_index(shared.clone())).map(|_| ())
}

/// At a shutdown the batcher and the lane stop between two steps, also while one waits for the other: that is no failure.
async fn until_stopped(shutdown: &Shutdown, part: impl Future<Output = Result<()>>) -> Result<()> {
    match part.await {
        Err(Error::Stopping) if shutdown.is_triggered() => Ok(()),
        ended => ended,
    }
}

async fn build_index(shared: Shared) -> Result<()> {
    let build = async {
        shared.published.wait_repository().await;
        shared.index.build(&shared.published).await
    };
    tokio::select! {
        built = build => built,
        () = shared.shutdown.wait() => Ok(()),
    }
}

async fn forget_tasks(tasks: Tasks, clock: Clock, shutdown: Shutdown) -> Result<()> {
    while !shutdown.is_triggered() {
        match tasks.forget_old(clock.now()).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old tasks are kept until there is space");
            }
            forgotten => forgotten?,
        }
        tokio::select! {
            () = clock.sleep(FORGET_PERIOD) => {}
            () = shutdown.wait() => {}
        }
    }
    Ok(())
}

fn signers(config: &Config) -> Result<Signers> {
    let [targets, snapshot, timestamp] = &config.signers;
    let endpoint = |uri: &String| {
        let channel = rstuf_runtime::connect(uri).map_err(|error| Error::field("signer", error.to_string()))?;
        Ok::<_, Error>(Endpoint { uri: uri.clone(), channel })
    };
    Ok(Signers::new([endpoint(targets)?, endpoint(snapshot)?, endpoint(timestamp)?]))
}
