//! The timestamp signer: names the current snapshot, after verifying it.
//!
//! It never names an unsigned, expired or older snapshot.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `config`: the settings
//! 2. `memory`: what is remembered of snapshots
//! 3. `sign`: what is checked before signing
//! 4. `grpc`: the door
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod config;
mod grpc;
mod memory;
mod sign;

use rstuf_runtime::{Clock, Context};
use rstuf_signing::{RunError, StartError};
use rstuf_tuf::TopLevel;
use tokio::net::TcpListener;

use crate::memory::Memory;

pub use crate::config::{Config, ConfigRaw};

/// The timestamp signer, ready to serve.
#[derive(Debug)]
pub struct Service {
    service: rstuf_signing::Service<Memory>,
}

impl Service {
    /// Opens the state directory and its key, and checks both. Ready as soon as it serves.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to do.
    pub async fn build(config: &Config, context: Context) -> Result<Self, StartError> {
        let service = rstuf_signing::Service::open(TopLevel::Timestamp, &config.signer, context, Memory::load).await?;
        Ok(Self { service })
    }

    /// Serves until the context's shutdown.
    ///
    /// # Errors
    /// Where the server or the store fails.
    pub async fn run(self, listener: TcpListener) -> Result<(), RunError> {
        let server = grpc::server(self.service.signer().clone());
        self.service.run(listener, grpc::SERVICE_NAME, |routes| routes.add_service(server)).await
    }
}

/// Sets right what a wrong clock left in the state directory, and says what that was; not while the signer runs.
///
/// # Errors
/// See [`StartError`].
pub async fn reset_clock(config: &Config, clock: &Clock) -> Result<String, StartError> {
    rstuf_signing::reset_clock(TopLevel::Timestamp, &config.signer, clock, memory::reset).await
}
