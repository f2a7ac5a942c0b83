//! What is worked out when somebody asks for metrics: what waits for how long, and who answers.

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use rstuf_runtime::names;

use crate::{handles::Handles, ids, intake::Intake, signers::Group};

/// Gauges of one coordinator.
pub(crate) struct CoordinatorMetrics {
    handles: Handles,
    /// Submissions that are held, and that are set aside.
    kept: Box<dyn Fn() -> (usize, usize) + Send + Sync>,
}

impl CoordinatorMetrics {
    /// Of this coordinator.
    pub(crate) fn new(handles: Handles, intake: &Intake) -> Self {
        Self { handles, kept: Box::new(intake.kept()) }
    }

    /// Seconds since the oldest request was acknowledged that is to be published.
    fn oldest_seconds(&self, now: Timestamp) -> i64 {
        let oldest = self.handles.journal.oldest_to_publish();
        oldest.map_or(0, |task| now.duration_since(ids::time_of(task)).as_secs().max(0))
    }
}

impl std::fmt::Debug for CoordinatorMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CoordinatorMetrics")
    }
}

impl Collector for CoordinatorMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (held, set_aside) = (self.kept)();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let oldest = self.oldest_seconds(self.handles.clock.now());
        for (name, help, value) in [
            (names::SUBMISSIONS_HELD, "submissions that are held until a publish is asked for", number(held)),
            (names::SUBMISSIONS_SET_ASIDE, "submissions that a signer refuses, until somebody acts", number(set_aside)),
            (names::OLDEST_SUBMISSION_SECONDS, "age of the oldest request that is not published yet", oldest),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "whether a signer answered when it was asked last";
        let mut family = encoder.encode_descriptor(names::SIGNER_REACHABLE, help, None, MetricType::Gauge)?;
        for group in Group::ALL {
            let Some(reachable) = self.handles.signers.is_reachable(group) else { continue };
            let labels = [("group", group.as_str())];
            ConstGauge::new(i64::from(reachable)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
