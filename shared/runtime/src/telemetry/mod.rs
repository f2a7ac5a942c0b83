//! Logs and traces.
//!
//! One call of [`init`] a process. Logs go to standard error: `info` for our own crates, `warn` for what they use,
//! unless the filter says otherwise. Traces are exported by OTLP where an endpoint is given, with W3C trace context
//! carried in gRPC metadata: [`crate::Channel`] sends it, [`crate::serve`] receives it, and
//! [`current_traceparent`] and [`set_parent`] carry it through a journal.

mod context;
mod logs;

use std::{io::IsTerminal, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, Targets, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

pub use context::{current_traceparent, set_parent};
pub(crate) use context::{extract, inject, trace_id};
pub use logs::LogFormat;

/// What is logged unless a filter is given. Spans of our crates are `info` too, so that logs carry their fields.
pub const LOG_FILTER_DEFAULT: &str = "warn,rstuf=info";

/// What is so talkative below `warn` that it drowns the rest: logged there only where the filter names it.
const TALKATIVE: [&str; 8] =
    ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry", "opentelemetry_sdk", "sled"];

/// What [`init`] is told.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// How logs look.
    pub log_format: LogFormat,
    /// Directives `LEVEL` and `TARGET=LEVEL`, such as `warn,rstuf=debug`; see [`LOG_FILTER_DEFAULT`]. `h2` and
    /// the like stay at `warn` unless they are named.
    pub log_filter: String,
    /// Where to send traces by OTLP over gRPC, as `http://HOST:PORT`; nowhere without it.
    pub otlp_endpoint: Option<String>,
    /// The process's name in traces, such as `rstuf-coordinator`.
    pub service_name: String,
}

impl TelemetryConfig {
    /// Logs for people, no traces.
    pub fn new(service_name: impl Into<String>) -> Self {
        Self {
            log_format: LogFormat::Human,
            log_filter: LOG_FILTER_DEFAULT.to_owned(),
            otlp_endpoint: None,
            service_name: service_name.into(),
        }
    }
}

/// Why there are no logs or no traces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("log filter {filter:?} is invalid: {source}; allowed are directives such as warn,rstuf=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter cannot be made.
    #[error("otlp endpoint {endpoint:?} is invalid: {source}; allowed is http://HOST:PORT")]
    Exporter {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// [`init`] was called before in this process.
    #[error("telemetry was initialised before in this process")]
    Twice,
}

/// Checks that `filter` is one that [`init`] takes.
///
/// # Errors
/// Why it is not; whoever shows that names the filter.
pub fn check_filter(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    parse_filter(filter).map(|_| ())
}

fn parse_filter(filter: &str) -> Result<Targets, tracing_subscriber::filter::ParseError> {
    let directives: Vec<&str> = filter.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    let named: Targets = directives.join(",").parse()?;
    let general = named.default_level().unwrap_or(LevelFilter::WARN);
    let is_named = |name: &str| named.iter().any(|(target, _)| target == name);
    let unnamed = TALKATIVE.into_iter().filter(|name| !is_named(name));
    let quiet = Targets::new().with_targets(unnamed.map(|name| (name, general.min(LevelFilter::WARN))));
    Ok(quiet.with_targets(named.iter().map(|(target, level)| (target.to_owned(), level))).with_default(general))
}

/// Sets up logs and traces for the whole process. Must be called within a tokio runtime where there is an endpoint.
///
/// # Errors
/// See [`Error`]; nothing is set up then.
pub fn init(config: &TelemetryConfig) -> Result<Guard, Error> {
    let filter = parse_filter(&config.log_filter);
    let filter = filter.map_err(|source| Error::Filter { filter: config.log_filter.clone(), source })?;
    let logs = logs::layer(config.log_format, std::io::stderr, std::io::stderr().is_terminal());
    let provider = config.otlp_endpoint.as_deref().map(|it| provider(it, &config.service_name)).transpose()?;
    let traces = provider.as_ref().map(|it| trace_layer(it, &config.service_name));
    tracing_subscriber::registry().with(traces).with(logs.with_filter(filter)).try_init().map_err(|_| Error::Twice)?;
    Ok(Guard { provider })
}

fn provider(endpoint: &str, service_name: &str) -> Result<SdkTracerProvider, Error> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|source| Error::Exporter { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder().with_service_name(service_name.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn trace_layer<S>(provider: &SdkTracerProvider, name: &str) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer(name.to_owned())).with_filter(ours())
}

/// Only what our own crates say. Without this the exporter's own calls and every HTTP/2 frame would be exported, which
/// would cause the next ones.
fn ours() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|it| it.target().starts_with("rstuf") && *it.level() <= tracing::Level::INFO)
}

/// Keeps the exporter. Dropping it loses what was not sent yet: end with [`Guard::shutdown`].
#[derive(Debug)]
#[must_use = "end with `shutdown`, which sends what is left"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what is left, within `deadline`, and ends the export. Says whether all was sent.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        let Some(provider) = self.provider else { return true };
        blocking(deadline, move || provider.shutdown_with_timeout(deadline).is_ok()).await
    }
}

/// The exporter blocks its caller while it needs the runtime's other threads.
async fn blocking(deadline: Duration, work: impl FnOnce() -> bool + Send + 'static) -> bool {
    let work = tokio::task::spawn_blocking(work);
    tokio::time::timeout(deadline, work).await.is_ok_and(|it| it.unwrap_or(false))
}
