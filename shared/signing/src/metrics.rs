//! What a signer counts. Labels are role types, never the names of bins.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge, histogram::Histogram},
};
use rstuf_api::Kinded as _;
use rstuf_runtime::{By, Clock, names};
use rstuf_tuf::{RoleName, TopLevel};

use crate::{Error, RoleState};

/// By role type, the earliest expiry of the newest documents.
type Expiries = Arc<Mutex<BTreeMap<&'static str, Timestamp>>>;

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    signatures: By<Counter>,
    refusals: By<Counter>,
    seconds: Histogram,
    expiries: Expiries,
}

impl Metrics {
    pub(crate) fn register(registry: &rstuf_runtime::Metrics, group: TopLevel, clock: Clock) -> Self {
        let expiries = Expiries::default();
        registry.register_collector(Expiry { clock, expiries: Arc::clone(&expiries) });
        let seconds = registry.seconds_by(names::SIGN_SECONDS, "seconds from a request to its durable answer", "role");
        Self {
            signatures: registry.counter_by(names::SIGNATURES, "signatures made", "role"),
            refusals: registry.counter_by(names::SIGN_REFUSALS, "requests refused", "reason"),
            seconds: seconds.with(group.as_str()),
            expiries,
        }
    }

    pub(crate) fn signed<'a>(&self, roles: &BTreeMap<RoleName, RoleState>, signed: impl Iterator<Item = &'a RoleName>) {
        for role in signed {
            self.signatures.with(kind(role)).inc();
        }
        let mut earliest = BTreeMap::new();
        for (role, state) in roles {
            if let Some(newest) = state.signed.as_ref().or(state.base.as_ref()) {
                let expires = newest.expires();
                let known = earliest.entry(kind(role)).or_insert(expires);
                *known = expires.min(*known);
            }
        }
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = earliest;
    }

    pub(crate) fn answered(&self, elapsed: Duration) {
        self.seconds.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn refused(&self, error: &Error) {
        let reason = error.reason().map_or_else(|| format!("{:?}", error.kind()), |reason| reason.name.to_string());
        self.refusals.with(reason).inc();
    }
}

fn kind(role: &RoleName) -> &'static str {
    role.top_level().map_or("delegated", TopLevel::as_str)
}

/// Seconds until the newest document of each role type expires, read when asked; of many bins the first to expire.
#[derive(Debug)]
struct Expiry {
    clock: Clock,
    expiries: Expiries,
}

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gauges = expiries
            .into_iter()
            .map(|(role, expires)| (role, ConstGauge::new(expires.duration_since(self.clock.now()).as_secs_f64())));
        let gauges: Vec<_> = gauges.collect();
        let Some((_, first)) = gauges.first() else { return Ok(()) };
        let help = "seconds until the newest document of a role expires";
        let mut family = encoder.encode_descriptor(names::EXPIRY_SECONDS, help, None, first.metric_type())?;
        for (role, gauge) in &gauges {
            gauge.encode(family.encode_family(&[("role", *role)])?)?;
        }
        Ok(())
    }
}
