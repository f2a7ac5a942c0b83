//! Seconds to the expiry of what is published, worked out when somebody asks.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, gauge::ConstGauge},
};
use rstuf_runtime::{Clock, names};
use rstuf_tuf::RoleName;

use crate::published::Published;

/// A gauge for each top-level role, and one for the delegated role that expires first.
#[derive(Clone)]
pub(crate) struct ExpiryMetrics {
    published: Published,
    clock: Clock,
}

impl ExpiryMetrics {
    /// Of what is published.
    pub(crate) fn new(published: Published, clock: Clock) -> Self {
        Self { published, clock }
    }
}

impl std::fmt::Debug for ExpiryMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExpiryMetrics")
    }
}

impl Collector for ExpiryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "seconds until the published metadata of a role expires; of delegated roles the first to expire";
        let mut family = encoder.encode_descriptor(names::EXPIRY_SECONDS, help, None, MetricType::Gauge)?;
        let now = self.clock.now();
        let mut delegated: Option<i64> = None;
        for (role, row) in self.published.roles() {
            let seconds = row.expires.duration_since(now).as_secs();
            match role.top_level() {
                Some(_) => encode(&mut family, &role, seconds)?,
                None => delegated = Some(delegated.map_or(seconds, |first| first.min(seconds))),
            }
        }
        match delegated {
            Some(seconds) => encode_named(&mut family, "delegated", seconds),
            None => Ok(()),
        }
    }
}

fn encode(family: &mut MetricEncoder<'_>, role: &RoleName, seconds: i64) -> Result<(), std::fmt::Error> {
    encode_named(family, role.as_str(), seconds)
}

fn encode_named(family: &mut MetricEncoder<'_>, role: &str, seconds: i64) -> Result<(), std::fmt::Error> {
    let labels = [("role", role)];
    ConstGauge::new(seconds).encode(family.encode_family(&labels)?)
}
