//! Whether a signer's clock is believed: checked before anything is signed, and watched in between.

use std::{convert::Infallible, time::Duration};

use rstuf_api::Refusal;
use rstuf_runtime::{Hold, Readiness, Reading};
use rstuf_store::Batch;

use crate::{Error, Result, Signer, signer::Inner, times::Times};

/// How often the clock is looked at when nothing is signed.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

impl<M> Inner<M> {
    /// What the clocks say, if that is believed.
    ///
    /// # Errors
    /// [`Error::ClockWentBack`], [`Error::ClockJumped`].
    pub(crate) fn reading(&self) -> Result<Reading> {
        let now = self.clock.reading();
        self.times.borrow().check(&now, self.settings.clock).map(|()| now)
    }
}

impl<M: Send + Sync + 'static> Signer<M> {
    /// Why nothing is signed because of the clock; none where it is believed. Waits for nothing.
    pub(crate) fn clock_refusal(&self) -> Option<Refusal> {
        match self.inner.reading().err()? {
            Error::ClockWentBack { .. } => Some(Refusal::ClockWentBack),
            _ => Some(Refusal::ClockJumped),
        }
    }

    /// Looks at the clock: says when it is not believed, for readiness too, which `doubted` keeps, and notes the time,
    /// so that it is known how long the machine was off.
    pub(crate) async fn look_at_clock(&self, readiness: &Readiness, doubted: &mut Option<Hold>) {
        match self.inner.reading() {
            Ok(now) => {
                if doubted.take().is_some() {
                    tracing::info!(now = %now.wall, "the clock is believed again");
                }
                if let Err(error) = self.note(&now).await {
                    tracing::debug!(%error, "the time was not noted");
                }
            }
            Err(error) if doubted.is_none() => {
                tracing::error!(%error, "nothing is signed");
                *doubted = Some(readiness.hold_error(error.to_string()));
            }
            Err(_) => {}
        }
    }

    /// Looks at the clock now and then, for ever.
    pub(crate) async fn watch_clock(&self, readiness: &Readiness, mut doubted: Option<Hold>) -> Infallible {
        let mut moves = self.inner.clock.moves();
        loop {
            self.look_at_clock(readiness, &mut doubted).await;
            moves.within(LOOK_PERIOD).await;
        }
    }

    async fn note(&self, now: &Reading) -> Result<()> {
        if self.inner.times.borrow().noted(now).is_none() {
            return Ok(());
        }
        // Nothing is signed, and noted, meanwhile.
        let _state = self.lock().await;
        let Some(times) = self.inner.times.borrow().noted(now) else { return Ok(()) };
        self.remember(Batch::new(), times).await
    }

    /// Makes the batch durable, together with what is known of the time now. The state is locked.
    pub(crate) async fn remember(&self, mut batch: Batch, times: Times) -> Result<()> {
        times.put(&mut batch);
        self.inner.store.commit(batch).await?;
        self.inner.times.send_replace(times);
        Ok(())
    }
}
