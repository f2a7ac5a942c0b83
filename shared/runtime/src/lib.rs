//! What every process of the repository service shares: configuration, time, telemetry, probes, and one way to
//! listen, serve and stop. It knows nothing about metadata, roles or storage.
//!
//! A service's `main.rs` is one call of [`main`]; see there for an example.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod admin;
mod allocator;
pub mod client;
mod clock;
pub mod config;
mod connections;
mod context;
mod entry;
mod harden;
pub mod listen;
mod liveness;
pub mod metrics;
pub mod names;
mod readiness;
pub mod repeat;
pub mod retry;
pub mod server;
mod shutdown;
pub mod telemetry;

pub use client::{Channel, connect};
pub use clock::{Clock, ManualClock};
pub use config::{Common, CommonRaw};
pub use context::Context;
pub use entry::main;
pub use harden::harden;
pub use liveness::{Heartbeat, Liveness};
pub use metrics::{By, GrpcMetrics, Metrics};
pub use readiness::{Hold, Readiness, Reason};
pub use server::{ServeOptions, serve};
pub use shutdown::Shutdown;
