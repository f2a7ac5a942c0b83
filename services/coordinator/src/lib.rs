//! The coordinator: takes submissions in, batches them, has signers sign, and publishes. It holds no key.
//!
//! ```text
//! grpc -> intake -> journal          acknowledged means fsynced
//!           |
//!         queue -> batcher           step 1: the targets signer applies the changes
//!                     |
//!                   lane             steps 2 to 5: snapshot, timestamp, publish, finish
//!                     |
//!                 publisher          write, barrier, replace
//! ```

mod backoff;
mod batch;
mod batcher;
mod blocking;
mod config;
mod coordinator;
pub mod effects;
mod error;
mod grpc;
mod intake;
mod journal;
mod lane;
mod pace;
mod published;
mod publisher;
mod signers;
mod start;
mod tasks;

pub use config::{Config, ConfigRaw};
pub use coordinator::{Coordinator, Parts};
pub use error::{Error, Result};
pub use published::repository::Repository;
