//! One switch that stops a process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A switch that is thrown once and that everybody can wait for. Cheap to clone; clones are one switch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A switch that only [`Shutdown::trigger`] throws.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// A switch that SIGTERM or SIGINT throws. The second signal ends the process at once, with exit code
    /// 128 + its number: somebody who asks twice does not want to wait.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the process may not install signal handlers.
    pub fn on_signals() -> io::Result<Shutdown> {
        let shutdown = Shutdown::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let switch = shutdown.clone();
        tokio::spawn(async move {
            let name = first_of(&mut terminate, &mut interrupt).await.0;
            tracing::info!(signal = name, "shutting down");
            switch.trigger();
            let (name, number) = first_of(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "second signal, exiting at once");
            std::process::exit(128 + number);
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
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }
}

async fn first_of(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
