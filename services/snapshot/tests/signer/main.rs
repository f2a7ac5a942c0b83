//! The snapshot signer through its gRPC door: what it signs, and what evidence it refuses.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod limits;
mod rules;
mod support;
