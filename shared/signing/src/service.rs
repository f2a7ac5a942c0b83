//! The skeleton of a signer's process: open, serve, stop.

use rstuf_runtime::{Context, Hold, ServeOptions, server};
use rstuf_store::{Options, Store};
use rstuf_tuf::TopLevel;
use tokio::net::TcpListener;

use crate::{
    Result, Signer, SignerConfig, State, audit,
    grpc::{self, Routes},
    key::{self, StartError},
    metrics::Metrics,
    times::Times,
};

/// A signer with an open state directory, ready to serve.
#[derive(Debug)]
pub struct Service<M> {
    signer: Signer<M>,
    store: Store,
    options: ServeOptions,
    context: Context,
    starting: Hold,
}

impl<M: Send + Sync + std::fmt::Debug + 'static> Service<M> {
    /// Opens the state directory and its key, and checks what is in them: own signatures verify, nothing is missing.
    ///
    /// `remember` reads what this kind of signer remembers besides.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to do.
    pub async fn open(
        group: TopLevel,
        config: &SignerConfig,
        context: Context,
        remember: impl FnOnce(&Store) -> Result<M>,
    ) -> std::result::Result<Self, StartError> {
        let starting = context.readiness.hold("opening the state directory");
        let dir = &config.common.state_dir;
        let store = Store::open(Options::new(dir, group.as_str()))?;
        let key = key::open(&store, dir, config.create_key, config.key_passphrase.as_ref()).await?;
        // Operators compare this with what the ceremony shows them.
        tracing::info!(key_id = %key.public_key().key_id(), "opened the key");
        let memory = remember(&store)?;
        let (store, key, known) = tokio::task::spawn_blocking(move || {
            let state = State::load(&store, memory)?;
            audit::verify(&store, key.as_ref(), &state)?;
            let times = Times::load(&store)?;
            Ok::<_, crate::Error>((store, key, (state, times)))
        })
        .await
        .map_err(|error| crate::Error::Task { reason: error.to_string() })??;
        let state = &known.0;
        check_pinned(config, &store, state)?;
        if let Some(evidence) = &state.halted {
            tracing::error!(%evidence, "this state is older than what the key has signed: nothing is signed any more");
        }
        context.metrics.show_free_bytes([("state", dir.clone())]);
        let metrics = Metrics::register(&context.metrics, group, context.clock.clone());
        metrics.signed(&state.roles, std::iter::empty());
        let signer = Signer::new(group, key, store.clone(), context.clock.clone(), config.into(), metrics, known);
        let options = ServeOptions::new(&context).with_common(&config.common);
        Ok(Self { signer, store, options, context, starting })
    }

    /// The signer, for the methods of this kind of signer.
    pub fn signer(&self) -> &Signer<M> {
        &self.signer
    }

    /// Serves what every signer answers, and the service with the full name `own`, which `add` adds, until the
    /// context's shutdown. Ends with an error when the store fails: what is on the disk is unknown then, and the next
    /// start finds out.
    ///
    /// # Errors
    /// Where the server or the store fails.
    pub async fn run(
        self,
        listener: TcpListener,
        own: &str,
        add: impl FnOnce(Routes) -> Routes,
    ) -> std::result::Result<(), RunError> {
        let Self { signer, store, options, context, starting } = self;
        let services = [grpc::SERVICE_NAME, own];
        let descriptors = rstuf_api::descriptors(&services);
        let options = options.with_services(&services, descriptors, rstuf_api::limits::request_bytes_max);
        let routes = add(Routes::new(grpc::server(signer.clone())));
        let mut doubted = None;
        signer.look_at_clock(&context.readiness, &mut doubted).await;
        // Others would wait for the disk, as those that only ask what this signer is.
        store.refuse_workers();
        starting.release();
        let failed = store.failed();
        let serving = rstuf_runtime::serve(listener, routes, options, context.shutdown.clone());
        let served = tokio::select! {
            served = serving => served.map_err(RunError::from),
            error = failed => Err(RunError::from(error)),
            never = signer.watch_clock(&context.readiness, doubted) => match never {},
        };
        let closed = store.close().await.map_err(RunError::from);
        served.and(closed)
    }
}

/// Why a signer ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server failed.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] rstuf_store::Error),
}

fn check_pinned<M>(config: &SignerConfig, store: &Store, state: &State<M>) -> std::result::Result<(), StartError> {
    let Some(trust) = &state.trust else { return Ok(()) };
    let pinned = trust.repository();
    store.bind_repository(pinned.0)?;
    match config.root_sha256 {
        Some(configured) if configured != pinned => Err(StartError::OtherRoot { configured, pinned }),
        _ => Ok(()),
    }
}
