//! What a running service is given by the process around it.

use std::sync::Arc;

use crate::{Clock, Liveness, Metrics, Readiness, Shutdown};

/// One service's clock, switch, probes and metrics. Cheap to clone; clones are one context.
///
/// A process with one service has one; a process with several gives each its own, with the clock and the switch shared.
#[derive(Debug, Clone)]
pub struct Context {
    /// The service's name: `service` in logs, spans and metrics.
    pub service: Arc<str>,
    /// The time.
    pub clock: Clock,
    /// Ends the service.
    pub shutdown: Shutdown,
    /// Held by each duty of the start.
    pub readiness: Readiness,
    /// What must go round.
    pub liveness: Liveness,
    /// The service's metrics.
    pub metrics: Metrics,
}

impl Context {
    /// A context with fresh probes and metrics.
    pub fn new(service: &str, clock: Clock, shutdown: Shutdown) -> Self {
        Self {
            service: service.into(),
            clock,
            readiness: Readiness::new(shutdown.clone()),
            liveness: Liveness::default(),
            shutdown,
            metrics: Metrics::new(service),
        }
    }
}
