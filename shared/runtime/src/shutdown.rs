//! One switch that stops a process.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// A signal so soon after the first is the same one: a terminal and a supervisor may both pass it on.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// A switch that is thrown once and that everybody can wait for. Cheap to clone; clones are one switch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A switch that only [`Shutdown::trigger`] throws.
    pub fn new() -> Self {
        Self::default()
    }

    /// A switch that SIGTERM or SIGINT throws. The second signal, half a second or more after the first, ends the
    /// process at once, with exit code 128 + its number: somebody who asks twice does not want to wait.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the process may not install signal handlers.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let switch = shutdown.clone();
        tokio::spawn(async move {
            let name = first_of(&mut terminate, &mut interrupt).await.0;
            let first = Instant::now();
            tracing::info!(signal = name, "shutting down");
            switch.trigger();
            loop {
                let (name, number) = first_of(&mut terminate, &mut interrupt).await;
                if is_another(first, Instant::now()) {
                    tracing::warn!(signal = name, "second signal, exiting at once");
                    std::process::exit(128 + number);
                }
            }
        });
        Ok(shutdown)
    }

    /// Throws the switch. Throwing it again does nothing.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether the switch has been thrown.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the switch is thrown; at once where it has been.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// A switch that is thrown with this one, and that can also be thrown alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

/// Whether a signal `now` is another one than the `first`.
fn is_another(first: Instant, now: Instant) -> bool {
    now.duration_since(first) >= SAME_SIGNAL
}

async fn first_of(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_echoes_is_no_second_one() {
        let first = Instant::now();
        assert!(!is_another(first, first));
        assert!(!is_another(first, first + Duration::from_millis(499)));
        assert!(is_another(first, first + Duration::from_millis(500)));
    }
}
