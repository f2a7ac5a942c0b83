//! The steps of a publication. Every effect outside the process passes through [`Steps::run`], which measures it, and where
//! a test may stop the coordinator dead: before the effect ("it did not happen") or after it ("it happened, but the answer
//! was lost").

use std::{future::Future, sync::Arc};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use rstuf_runtime::{Metrics, names};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{Error, Result};

/// One effect outside the process, in the order in which a publication has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The batch is journalled.
    PlanBatch,
    /// The targets signer is asked.
    SignTargets,
    /// Its documents are written.
    WriteTargets,
    /// What it answered is journalled.
    JournalTargets,
    /// The snapshot request is journalled.
    PlanSnapshot,
    /// The snapshot signer is asked.
    SignSnapshot,
    /// The snapshot is written.
    WriteSnapshot,
    /// The snapshot and the timestamp request are journalled.
    PlanTimestamp,
    /// The timestamp signer is asked.
    SignTimestamp,
    /// `timestamp.json` is replaced: clients see the publication.
    ReplaceTimestamp,
    /// The publication is journalled as finished.
    Finish,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::PlanBatch,
        Self::SignTargets,
        Self::WriteTargets,
        Self::JournalTargets,
        Self::PlanSnapshot,
        Self::SignSnapshot,
        Self::WriteSnapshot,
        Self::PlanTimestamp,
        Self::SignTimestamp,
        Self::ReplaceTimestamp,
        Self::Finish,
    ];

    /// Its name in metrics, spans and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PlanBatch => "plan_batch",
            Self::SignTargets => "sign_targets",
            Self::WriteTargets => "write_targets",
            Self::JournalTargets => "journal_targets",
            Self::PlanSnapshot => "plan_snapshot",
            Self::SignSnapshot => "sign_snapshot",
            Self::WriteSnapshot => "write_snapshot",
            Self::PlanTimestamp => "plan_timestamp",
            Self::SignTimestamp => "sign_timestamp",
            Self::ReplaceTimestamp => "replace_timestamp",
            Self::Finish => "finish",
        }
    }
}

/// Which side of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// It did not happen.
    Before,
    /// It happened, and nobody heard of it.
    After,
}

/// Says whether to stop dead at a moment of a step. In production: never.
pub type StopAt = Arc<dyn Fn(Step, Moment) -> bool + Send + Sync>;

/// Runs effects. Cheap to clone.
#[derive(Clone)]
pub struct Steps {
    seconds: rstuf_runtime::By<Histogram>,
    failures: rstuf_runtime::By<Counter>,
    stop_at: StopAt,
}

impl Steps {
    /// Measures into `metrics`.
    pub fn new(metrics: &Metrics, stop_at: StopAt) -> Self {
        Self {
            seconds: metrics.seconds_by(names::STEP_SECONDS, "seconds that a step of a publication took", "step"),
            failures: metrics.counter_by(names::STEP_FAILURES, "attempts of a step that failed", "step"),
            stop_at,
        }
    }

    /// Runs one effect.
    ///
    /// # Errors
    /// The effect's own, or [`Error::Stopped`].
    pub async fn run<T>(&self, step: Step, effect: impl Future<Output = Result<T>>) -> Result<T> {
        self.stop(step, Moment::Before, "before")?;
        let start = Instant::now();
        let result = effect.instrument(tracing::info_span!("step", step = step.as_str())).await;
        match &result {
            Ok(_) => self.seconds.with(step.as_str()).observe(start.elapsed().as_secs_f64()),
            Err(_) => {
                self.failures.with(step.as_str()).inc();
            }
        }
        self.stop(step, Moment::After, "after")?;
        result
    }

    fn stop(&self, step: Step, moment: Moment, name: &'static str) -> Result<()> {
        if (self.stop_at)(step, moment) {
            return Err(Error::Stopped { moment: name, step: step.as_str() });
        }
        Ok(())
    }
}
