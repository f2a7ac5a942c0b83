//! The targets signer: holds the key of the bins, or of the top-level targets in the flat layout, and signs what
//! becomes of them when changes are applied.
//!
//! It never changes delegations: it copies them. Which path belongs to which role stands in the top-level targets
//! document that the root's holders signed offline.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `config`: the settings
//! 2. `spool`: changes while they are worked on
//! 3. `request`: gathering a request
//! 4. `overflow`: which submissions make documents too large
//! 5. `sign`: what is checked before signing
//! 6. `grpc`: the door
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod config;
mod grpc;
mod overflow;
mod request;
mod sign;
mod spool;

use std::path::PathBuf;

use rstuf_runtime::Context;
use rstuf_signing::{RunError, StartError};
use rstuf_tuf::TopLevel;
use tokio::net::TcpListener;

pub use crate::config::{Config, ConfigRaw};

/// The targets signer, ready to serve.
#[derive(Debug)]
pub struct Service {
    service: rstuf_signing::Service<()>,
    document_bytes_max: usize,
    spool_dir: PathBuf,
}

impl Service {
    /// Opens the state directory and its key, and checks both. Ready as soon as it serves.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to do.
    pub async fn build(config: &Config, context: Context) -> Result<Self, StartError> {
        let service = rstuf_signing::Service::open(TopLevel::Targets, &config.signer, context, |_| Ok(())).await?;
        let spool_dir = config.signer.common.state_dir.clone();
        Ok(Self { service, document_bytes_max: config.document_bytes_max, spool_dir })
    }

    /// Serves until the context's shutdown.
    ///
    /// # Errors
    /// Where the server or the store fails.
    pub async fn run(self, listener: TcpListener) -> Result<(), RunError> {
        let server = grpc::server(self.service.signer().clone(), self.document_bytes_max, self.spool_dir);
        self.service.run(listener, grpc::SERVICE_NAME, |routes| routes.add_service(server)).await
    }
}
