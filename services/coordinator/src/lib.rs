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
mod batcher;
mod blocking;
mod bootstrap;
mod config;
mod coordinator;
mod error;
mod expiry;
mod finish;
mod grpc;
mod index;
mod intake;
mod journal;
mod lane;
mod pace;
mod plan;
mod published;
mod publisher;
mod queue;
mod rebuild;
mod recovery;
mod repository;
mod retention;
mod signers;
pub mod steps;
mod tasks;

pub use config::{Config, ConfigRaw};
pub use coordinator::{Coordinator, Parts};
pub use error::{Error, Result};
pub use repository::Repository;
