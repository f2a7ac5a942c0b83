//! What every process of the repository service shares: configuration, time, telemetry, probes, and one way to
//! listen, serve and stop. It knows nothing about metadata, roles or storage, only which characters nobody sees.
//!
//! A service's `main.rs` is one call of [`main`]; see there for an example.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `allocator`: who hands out memory
//! 2. `harden`: what a process does for its own safety
//! 3. `causes`: what is said of an error
//! 4. `clock`: the only place that reads the clocks
//! 5. `liveness`: whether loops go round
//! 6. `detach`: work apart from its caller
//! 7. `repeat`: one line and a count for what comes back
//! 8. `shutdown`: when to stop
//! 9. `readiness`: whether to get work
//! 10. `names`: what metrics are called
//! 11. `metrics`: what is counted
//! 12. `context`: all of these, as a service is given them
//! 13. `listen`: opening a port
//! 14. `peers`: what one peer may hold of what all share
//! 15. `connections`: what may be held of a port
//! 16. `telemetry`: logs and traces
//! 17. `deadline`: the time that a request has left
//! 18. `progress`: deadlines that cut what does not move
//! 19. `client`: connecting to another service
//! 20. `retry`: trying a call again
//! 21. `config`: settings from file, environment and flags
//! 22. `server`: serving gRPC
//! 23. `admin`: serving probes and metrics
//! 24. `entry`: from the command line to the exit code
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod admin;
mod allocator;
mod causes;
pub mod client;
mod clock;
pub mod config;
pub mod connections;
mod context;
mod deadline;
mod detach;
mod entry;
mod harden;
pub mod listen;
pub mod liveness;
pub mod metrics;
pub mod names;
mod peers;
mod progress;
mod readiness;
pub mod repeat;
pub mod retry;
pub mod server;
mod shutdown;
pub mod telemetry;

pub use causes::with_causes;
pub use client::{Channel, Keepalive, connect, connect_with};
pub use clock::{ANCHOR_PERIOD, Boot, Clock, Jump, ManualClock, Moves, Reading, later};
pub use config::{Common, CommonRaw};
pub use context::Context;
pub use detach::{blocking, detached};
pub use entry::{Doing, Verb, main, main_with};
pub use harden::harden;
pub use liveness::Liveness;
pub use metrics::{By, ConnectionMetrics, GrpcMetrics, Metrics};
pub use progress::{CALL_MAX, Progress, STALL_MAX};
pub use readiness::{Hold, Readiness, Reason};
pub use server::{MessageLimits, ServeOptions, serve};
pub use shutdown::Shutdown;
