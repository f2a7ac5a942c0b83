//! What the mirror counts.

use std::fmt;

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, histogram::Histogram},
};
use rstuf_runtime::{By, Clock, connections::UnderWay, names};
use rstuf_tuf::file::TIMESTAMP;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::published::Published;

/// What a request asks for, as far as its path tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Timestamp,
    Metadata,
    Artifact,
    Other,
}

impl Kind {
    pub(crate) fn of(path: &str) -> Self {
        if let Some(name) = path.strip_prefix("/metadata/") {
            if name == TIMESTAMP { Self::Timestamp } else { Self::Metadata }
        } else if path.starts_with("/targets/") {
            Self::Artifact
        } else {
            Self::Other
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Metadata => "metadata",
            Self::Artifact => "artifact",
            Self::Other => "other",
        }
    }
}

/// The mirror's metrics. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<[(&'static str, String); 2], Counter>,
    seconds: By<Histogram>,
    bytes: By<Counter>,
    hashed: By<Counter>,
    mismatches: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &rstuf_runtime::Metrics, clock: Clock, published: Published) -> Self {
        registry.register_collector(Expiry { clock, published });
        Self {
            requests: registry.register(names::HTTP_REQUESTS, "HTTP requests answered", Family::default()),
            seconds: registry.seconds_by(names::HTTP_REQUEST_SECONDS, "seconds to the end of the answer", "kind"),
            bytes: registry.counter_by(names::HTTP_BODY_BYTES, "bytes of bodies sent", "kind"),
            hashed: registry.counter_by(names::FILES_HASHED, "files hashed, begun and not always ended", "kind"),
            mismatches: registry
                .counter(names::ARTIFACT_MISMATCHES, "requests for artifacts whose bytes are not their digest's"),
        }
    }

    /// What counts the files hashed of a kind.
    pub(crate) fn hashed(&self, kind: Kind) -> Counter {
        self.hashed.with(kind.as_str())
    }

    /// Counts an answer to a request that arrived at `start`: at once, and its body by the answer, as it is sent.
    /// `held` is so until the answer ends.
    pub(crate) fn answered(&self, kind: Kind, start: Instant, held: Held, status: StatusCode) -> Counted {
        let labels = [("kind", kind.as_str().to_owned()), ("status", status.as_str().to_owned())];
        self.requests.get_or_create(&labels).inc();
        let (seconds, bytes) = (self.seconds.with(kind.as_str()), self.bytes.with(kind.as_str()));
        Counted { start, seconds, bytes, _held: held }
    }

    pub(crate) fn mismatched(&self) {
        self.mismatches.inc();
    }
}

/// What an answer holds until it ends: its connection has a request, and it has a place among the transfers.
type Held = (UnderWay, Option<OwnedSemaphorePermit>);

/// An answer that is counted as it is sent, and ends when this is dropped.
pub(crate) struct Counted {
    start: Instant,
    seconds: Histogram,
    bytes: Counter,
    _held: Held,
}

impl Counted {
    /// So many bytes more.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seconds.observe(self.start.elapsed().as_secs_f64());
    }
}

/// Seconds until the published timestamp expires, read when asked: it falls for as long as nobody publishes, so that a
/// dead coordinator is seen here too.
#[derive(Debug)]
struct Expiry {
    clock: Clock,
    published: Published,
}

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let timestamp = match self.published.timestamp_blocking() {
            Ok(Some(timestamp)) => timestamp,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "the published timestamp is unusable");
                return Ok(());
            }
        };
        let seconds = timestamp.expires.duration_since(self.clock.now()).as_secs_f64();
        let gauge = ConstGauge::new(seconds);
        let help = "seconds until the published metadata of a role expires";
        let mut family = encoder.encode_descriptor(names::EXPIRY_SECONDS, help, None, gauge.metric_type())?;
        gauge.encode(family.encode_family(&[("role", "timestamp")])?)
    }
}
