//! What a publication does outside the process. Every effect passes through [`Effects::run`], which measures it, and
//! where a test may stop the coordinator, dead or still: before the effect ("it did not happen") or after it ("it
//! happened, but the answer was lost").

use std::{future::Future, sync::Arc};

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use rstuf_runtime::{Metrics, names};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{Error, Result};

/// One effect outside the process; those of a publication in the order in which it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The batch is journalled.
    PlanBatch,
    /// The targets signer is asked.
    SignTargets,
    /// Its documents are written.
    WriteTargets,
    /// What it answered is journalled, with what is asked for next: a snapshot, and a timestamp over that.
    JournalTargets,
    /// The snapshot signer is asked.
    SignSnapshot,
    /// The snapshot is written.
    WriteSnapshot,
    /// The timestamp signer is asked.
    SignTimestamp,
    /// `timestamp.json` is replaced: clients see the publication.
    ReplaceTimestamp,
    /// The publication is journalled as finished.
    Finish,
    /// A snapshot is planned without a batch, or another one than was planned.
    PlanSnapshot,
    /// A timestamp is planned over the published snapshot, or another one than was planned.
    PlanTimestamp,
    /// That a batch is given up is journalled: first that the lane publishes it no more, then what becomes of it.
    GiveUp,
    /// That a submission is set aside is journalled.
    SetAside,
    /// What was cancelled is deleted from the journal.
    Cancel,
    /// That what was set aside waits again is journalled.
    Retry,
}

impl Effect {
    /// Those that every publication has, in order.
    pub const OF_PUBLICATION: [Self; 9] = [
        Self::PlanBatch,
        Self::SignTargets,
        Self::WriteTargets,
        Self::JournalTargets,
        Self::SignSnapshot,
        Self::WriteSnapshot,
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
            Self::SignSnapshot => "sign_snapshot",
            Self::WriteSnapshot => "write_snapshot",
            Self::SignTimestamp => "sign_timestamp",
            Self::ReplaceTimestamp => "replace_timestamp",
            Self::Finish => "finish",
            Self::PlanSnapshot => "plan_snapshot",
            Self::PlanTimestamp => "plan_timestamp",
            Self::GiveUp => "give_up",
            Self::SetAside => "set_aside",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
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

impl Moment {
    /// Its name in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The coordinator ends.
    Dead,
    /// Whoever has the effect never goes on.
    Still,
}

/// Says whether to stop at a moment of an effect, and how. In production: never.
pub type StopAt = Arc<dyn Fn(Effect, Moment) -> Option<Stop> + Send + Sync>;

/// Runs effects. Cheap to clone.
#[derive(Clone)]
pub struct Effects {
    seconds: rstuf_runtime::By<Histogram>,
    failures: rstuf_runtime::By<Counter>,
    stop_at: StopAt,
}

impl Effects {
    /// Measures into `metrics`.
    pub fn new(metrics: &Metrics, stop_at: StopAt) -> Self {
        Self {
            seconds: metrics.seconds_by(
                names::EFFECT_SECONDS,
                "seconds that an effect of a publication took",
                "effect",
            ),
            failures: metrics.counter_by(names::EFFECT_FAILURES, "attempts at an effect that failed", "effect"),
            stop_at,
        }
    }

    /// Runs one effect.
    ///
    /// # Errors
    /// The effect's own, or [`Error::Stopped`].
    pub async fn run<T>(&self, effect: Effect, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.stop(effect, Moment::Before).await?;
        let start = Instant::now();
        let result = work.instrument(tracing::info_span!("effect", effect = effect.as_str())).await;
        match &result {
            Ok(_) => self.seconds.with(effect.as_str()).observe(start.elapsed().as_secs_f64()),
            Err(_) => {
                self.failures.with(effect.as_str()).inc();
            }
        }
        self.stop(effect, Moment::After).await?;
        result
    }

    async fn stop(&self, effect: Effect, moment: Moment) -> Result<()> {
        match (self.stop_at)(effect, moment) {
            None => Ok(()),
            Some(Stop::Dead) => Err(Error::Stopped { moment, effect }),
            Some(Stop::Still) => std::future::pending().await,
        }
    }
}
