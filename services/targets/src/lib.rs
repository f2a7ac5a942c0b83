//! The targets signer: holds the key of the bins, or of the top-level targets in the flat layout, and signs what
//! becomes of them when changes are applied.
//!
//! It never changes delegations: it copies them. Which path belongs to which role stands in the top-level targets
//! document that the root's holders signed offline.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `removals`: how much may be removed
//! 2. `config`: the settings
//! 3. `progress`: how far a signing is
//! 4. `arrivals`: the messages of a stream
//! 5. `spool`: changes while they are worked on
//! 6. `request`: gathering a request
//! 7. `overflow`: which submissions make documents too large
//! 8. `excess`: which submissions remove too much
//! 9. `sign`: what is checked before signing
//! 10. `grpc`: the door
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod arrivals;
mod config;
mod excess;
mod grpc;
mod overflow;
mod progress;
mod removals;
mod request;
mod sign;
mod spool;

use std::path::PathBuf;

use rstuf_runtime::{Clock, Context};
use rstuf_signing::{RunError, StartError};
use rstuf_tuf::TopLevel;
use tokio::net::TcpListener;

use crate::{removals::Memory, sign::Bounds};

pub use crate::{
    config::{Config, ConfigRaw},
    removals::Allowance,
};

/// The targets signer, ready to serve.
#[derive(Debug)]
pub struct Service {
    service: rstuf_signing::Service<Memory>,
    bounds: Bounds,
    spool_dir: PathBuf,
}

impl Service {
    /// Opens the state directory and its key, and checks both. Ready as soon as it serves.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to do.
    pub async fn build(config: &Config, context: Context) -> Result<Self, StartError> {
        let service = rstuf_signing::Service::open(TopLevel::Targets, &config.signer, context, Memory::load).await?;
        let spool_dir = config.signer.common.state_dir.clone();
        Ok(Self { service, bounds: config.into(), spool_dir })
    }

    /// Serves until the context's shutdown.
    ///
    /// # Errors
    /// Where the server or the store fails.
    pub async fn run(self, listener: TcpListener) -> Result<(), RunError> {
        let server = grpc::server(self.service.signer().clone(), self.bounds, self.spool_dir);
        self.service.run(listener, grpc::SERVICE_NAME, |routes| routes.add_service(server)).await
    }
}

/// Sets right what a wrong clock left in the state directory, and says what that was; not while the signer runs.
///
/// # Errors
/// See [`StartError`].
pub async fn reset_clock(config: &Config, clock: &Clock) -> Result<String, StartError> {
    rstuf_signing::reset_clock(TopLevel::Targets, &config.signer, clock, removals::reset).await
}
