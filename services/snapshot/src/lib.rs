//! The snapshot signer: names the targets metadata that is current, after verifying each document that changed.
//!
//! It never names an older or unsigned document, never drops a name, and never leaves out a role that is delegated to.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `config`: the settings
//! 2. `memory`: what is remembered of each role
//! 3. `waiting`: documents that came before what they need
//! 4. `evidence`: taking documents in
//! 5. `sign`: what is checked before signing
//! 6. `grpc`: the door
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod config;
mod evidence;
mod grpc;
mod memory;
mod sign;
mod waiting;

use rstuf_runtime::{Clock, Context};
use rstuf_signing::{RunError, StartError};
use rstuf_tuf::TopLevel;
use tokio::net::TcpListener;

pub use crate::config::{Config, ConfigRaw};
use crate::memory::Memory;

/// The snapshot signer, ready to serve.
#[derive(Debug)]
pub struct Service {
    service: rstuf_signing::Service<Memory>,
    hashed_roles_max: u64,
}

impl Service {
    /// Opens the state directory and its key, and checks both. Ready as soon as it serves.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to do.
    pub async fn build(config: &Config, context: Context) -> Result<Self, StartError> {
        let service = rstuf_signing::Service::open(TopLevel::Snapshot, &config.signer, context, Memory::load).await?;
        Ok(Self { service, hashed_roles_max: config.hashed_roles_max })
    }

    /// Serves until the context's shutdown.
    ///
    /// # Errors
    /// Where the server or the store fails.
    pub async fn run(self, listener: TcpListener) -> Result<(), RunError> {
        let server = grpc::server(self.service.signer().clone(), self.hashed_roles_max);
        self.service.run(listener, grpc::SERVICE_NAME, |routes| routes.add_service(server)).await
    }
}

/// Sets right what a wrong clock left in the state directory, and says what that was; not while the signer runs.
///
/// # Errors
/// See [`StartError`].
pub async fn reset_clock(config: &Config, clock: &Clock) -> Result<String, StartError> {
    rstuf_signing::reset_clock(TopLevel::Snapshot, &config.signer, clock, memory::reset).await
}
