//! From the command line to the exit code.

use std::{io::Write, pin::Pin, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Command;

use crate::{
    Clock, Context, Shutdown,
    config::{self, Invocation, Raw},
    harden, telemetry, with_causes,
};

/// The exit code of a wrong configuration (sysexits' `EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;
/// How long the last traces may take to be sent.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
/// How long blocking work may take to end after the service has.
const BLOCKING_DEADLINE: Duration = Duration::from_secs(5);

/// A service's whole `main`: reads the configuration, sets up telemetry, turns core dumps off, runs `run` until it
/// returns, and flushes what telemetry has left. SIGTERM and SIGINT trigger the context's shutdown, on which `run`
/// should return.
///
/// Exit codes: 0 when `run` returned, or after `config check` and `--dump-config`; 1 when it failed; 2 for a wrong
/// command line; 78 for a wrong configuration.
///
/// ```no_run
/// # use rstuf_runtime::config::{Common, CommonRaw, Defaults, Mistakes, Process, Raw};
/// # #[derive(Debug, Default, clap::Args, serde::Serialize, serde::Deserialize)]
/// # struct CoordinatorRaw { #[command(flatten)] #[serde(flatten)] common: CommonRaw }
/// # impl Raw for CoordinatorRaw {
/// #     const SERVICE: &'static str = "coordinator";
/// #     type Config = Common;
/// #     fn check(&self, mistakes: &mut Mistakes) -> Option<Common> {
/// #         let (listen, admin_listen) = ("127.0.0.1:50051", "127.0.0.1:9101");
/// #         self.common.check(mistakes, Defaults { listen, admin_listen, requests_max: "128" })
/// #     }
/// #     fn process(config: &Common) -> &Process { &config.process }
/// # }
/// use rstuf_runtime::{ServeOptions, admin, listen, serve};
///
/// fn main() -> std::process::ExitCode {
///     rstuf_runtime::main::<CoordinatorRaw>(async |config, context| {
///         let starting = context.readiness.hold("opening the state directory");
///         let _admin = admin::spawn(listen::bind(config.process.admin_listen, true).await?, &context);
///         let listener = listen::bind(config.listen, config.insecure_plaintext).await?;
///         let routes = tonic::service::Routes::default(); // built from the service's state
///         starting.release();
///         let options = ServeOptions::new(&context).with_common(&config);
///         serve(listener, routes, options, context.shutdown.clone()).await?;
///         Ok(())
///     })
/// }
/// ```
pub fn main<R: Raw>(run: impl AsyncFnOnce(R::Config, Context) -> anyhow::Result<()>) -> ExitCode {
    main_with::<R>(&[], run)
}

/// Something that a service's binary does once, instead of serving: a subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Verb<C> {
    /// Its name.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// Does it, and answers what is to be printed.
    pub run: fn(C, Clock) -> Doing,
}

/// A [`Verb`] under way.
pub type Doing = Pin<Box<dyn Future<Output = anyhow::Result<String>>>>;

/// As [`main`], of a binary that has these subcommands besides.
pub fn main_with<R: Raw>(
    verbs: &[Verb<R::Config>],
    run: impl AsyncFnOnce(R::Config, Context) -> anyhow::Result<()>,
) -> ExitCode {
    let commands = verbs.iter().map(|verb| Command::new(verb.name).about(verb.about));
    let read = config::invocation_with::<R>(commands, std::env::args_os(), std::env::vars_os(), warn);
    let (verb, config) = match read {
        Ok(Invocation::Run(config)) => (None, config),
        Ok(Invocation::Verb(name, config)) => (verbs.iter().find(|verb| verb.name == name), config),
        Ok(Invocation::Check) => return say("the configuration is fine\n"),
        Ok(Invocation::Dump(toml)) => return say(&toml),
        Err(config::Error::Usage(error)) => error.exit(),
        Err(error) => return complain(&error.to_string(), EXIT_CONFIG),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start the runtime: {error}"), 1),
    };
    let ended = match verb {
        Some(verb) => runtime.block_on((verb.run)(config, Clock::system())),
        None => runtime.block_on(Box::pin(run_service::<R>(config, run))).map(|()| String::new()),
    };
    runtime.shutdown_timeout(BLOCKING_DEADLINE);
    match ended {
        Ok(text) => say(&text),
        Err(error) => complain(&with_causes(&error), 1),
    }
}

async fn run_service<R: Raw>(
    config: R::Config,
    run: impl AsyncFnOnce(R::Config, Context) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let guard = telemetry::init(&R::process(&config).telemetry(R::SERVICE))?;
    harden().context("cannot turn core dumps off")?;
    let shutdown = Shutdown::on_signals().context("cannot handle signals")?;
    let context = Context::new(R::SERVICE, Clock::system(), shutdown);
    let ended = run(config, context).await;
    if !guard.shutdown(FLUSH_DEADLINE).await {
        tracing::warn!("some traces could not be sent");
    }
    ended
}

/// A reader that has gone away is no reason to fail.
fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn warn(message: String) {
    let _ = writeln!(std::io::stderr(), "warning: {message}");
}

/// To standard error directly: where the configuration is wrong there is no telemetry yet, and a log filter must not
/// hide why a process ended.
fn complain(message: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::from(code)
}
