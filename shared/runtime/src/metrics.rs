//! Metrics of one service in a registry that is a value: several services can live in one process.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry},
};

use crate::names;

/// Upper bounds of the buckets of a latency histogram: 1 ms to 60 s, dense where a publication should lie.
const SECONDS_BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Upper bounds of the buckets of a histogram that counts things: 1 to 100,000.
const COUNT_BUCKETS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 25.0, 100.0, 250.0, 1_000.0, 2_500.0, 10_000.0, 100_000.0];

/// The metrics of one service. Cheap to clone; clones are one registry. Every metric carries the label `service`.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    grpc: Arc<OnceLock<GrpcMetrics>>,
}

impl Metrics {
    /// A registry with the metrics that every service has: its version, and the process's memory.
    pub fn new(service: &str) -> Self {
        let labels = [("service".into(), service.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        registry.register(names::BUILD, "what runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register_collector(Box::new(ResidentBytes));
        Self { registry: Arc::new(Mutex::new(registry)), grpc: Arc::default() }
    }

    /// Shows at each scrape how much room is left for whoever runs this process, on the disk of each directory, by what
    /// the directory is for. To be called once.
    pub fn show_free_bytes(&self, directories: impl IntoIterator<Item = (&'static str, PathBuf)>) {
        self.register_collector(FreeBytes(directories.into_iter().collect()));
    }

    /// Registers any metric, and gives it back.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.lock().register(name, help, metric.clone());
        metric
    }

    /// Registers something that is asked at each scrape.
    pub fn register_collector(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    /// A counter; it is exposed as `name` + `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// A counter for each value of `label`.
    pub fn counter_by(&self, name: &str, help: &str, label: &'static str) -> By<Counter> {
        self.by(name, help, label, Make(Counter::default))
    }

    /// A gauge of whole numbers.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// A histogram of seconds for each value of `label`.
    pub fn seconds_by(&self, name: &str, help: &str, label: &'static str) -> By<Histogram> {
        self.by(name, help, label, Make(|| Histogram::new(SECONDS_BUCKETS)))
    }

    /// A histogram of seconds.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(name, help, Histogram::new(SECONDS_BUCKETS))
    }

    /// A histogram that counts things, with `COUNT_BUCKETS`.
    pub fn counts(&self, name: &str, help: &str) -> Histogram {
        self.register(name, help, Histogram::new(COUNT_BUCKETS))
    }

    /// The metrics of this service's gRPC server; a service that never asks for them has none.
    pub fn grpc(&self) -> &GrpcMetrics {
        self.grpc.get_or_init(|| {
            let grpc = GrpcMetrics::default();
            let it = grpc.clone();
            self.register(names::GRPC_REQUESTS, "gRPC requests answered", it.requests);
            self.register(names::GRPC_REQUEST_SECONDS, "seconds to the end of the answer", it.seconds.family);
            self.register(names::GRPC_REQUESTS_IN_FLIGHT, "gRPC requests being answered", it.in_flight);
            self.connections(it.connections);
            grpc
        })
    }

    /// Shows the connections of this service's listener.
    pub fn connections(&self, connections: ConnectionMetrics) {
        self.register(names::CONNECTIONS, "connections open", connections.open);
        let refused = "connections closed at once, as all places were taken by others with requests";
        self.register(names::CONNECTIONS_REFUSED, refused, connections.refused);
        let idle = "connections closed as they had no request";
        self.register(names::CONNECTIONS_CLOSED_IDLE, idle, connections.closed_idle);
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// Where a collector fails to describe itself.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.lock())?;
        Ok(text)
    }

    fn by<M>(&self, name: &str, help: &str, label: &'static str, make: Make<M>) -> By<M>
    where
        M: Metric + prometheus_client::metrics::TypedMetric + Clone,
    {
        By { family: self.register(name, help, Family::new_with_constructor(make)), label }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Label = [(&'static str, String); 1];

/// How a family makes the metric of a label value that it has not seen.
#[derive(Debug, Clone, Copy)]
struct Make<M>(fn() -> M);

impl<M> MetricConstructor<M> for Make<M> {
    fn new_metric(&self) -> M {
        (self.0)()
    }
}

/// One metric for each value of one label. Label values must come from a small set: roles, steps, results.
#[derive(Debug, Clone)]
pub struct By<M> {
    family: Family<Label, M, Make<M>>,
    label: &'static str,
}

impl<M: Clone> By<M> {
    /// The metric of this label value.
    pub fn with(&self, value: impl Into<String>) -> M {
        self.family.get_or_create_owned(&[(self.label, value.into())])
    }
}

/// What is counted of the connections of one listener. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    pub(crate) open: Gauge,
    pub(crate) refused: Counter,
    pub(crate) closed_idle: Counter,
}

/// What a gRPC server counts.
#[derive(Debug, Clone)]
pub struct GrpcMetrics {
    pub(crate) requests: Family<[(&'static str, String); 2], Counter>,
    pub(crate) seconds: By<Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: ConnectionMetrics,
}

impl Default for GrpcMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: By {
                family: Family::new_with_constructor(Make(|| Histogram::new(SECONDS_BUCKETS))),
                label: "method",
            },
            in_flight: Gauge::default(),
            connections: ConnectionMetrics::default(),
        }
    }
}

impl GrpcMetrics {
    /// Requests of `method` (`/package.Service/Method`) that were answered with `code` (such as `OK`).
    pub fn requests(&self, method: &str, code: &str) -> u64 {
        self.requests.get(&[("method", method.to_owned()), ("code", code.to_owned())]).map_or(0, |it| it.get())
    }

    /// Connections open now.
    pub fn connections(&self) -> i64 {
        self.connections.open.get()
    }
}

/// The process's memory, read when asked.
#[derive(Debug)]
struct ResidentBytes;

impl Collector for ResidentBytes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(bytes) = resident_bytes() else { return Ok(()) };
        let gauge = ConstGauge::new(bytes);
        let help = "bytes of memory that the process occupies";
        gauge.encode(encoder.encode_descriptor(names::RESIDENT_BYTES, help, None, gauge.metric_type())?)
    }
}

/// What is left on the disks of some directories, read when asked.
#[derive(Debug)]
struct FreeBytes(Vec<(&'static str, PathBuf)>);

impl Collector for FreeBytes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "bytes that may still be written to the disk of a directory";
        let mut family = encoder.encode_descriptor(names::FREE_BYTES, help, None, MetricType::Gauge)?;
        for (directory, path) in &self.0 {
            // A directory that is not there yet has no disk.
            if let Ok(disk) = rustix::fs::statvfs(path) {
                let gauge = ConstGauge::new(disk.f_bavail.saturating_mul(disk.f_frsize));
                gauge.encode(family.encode_family(&[("directory", *directory)])?)?;
            }
        }
        Ok(())
    }
}

/// The second field of `/proc/self/statm`, which counts pages; none where there is no such file.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}
