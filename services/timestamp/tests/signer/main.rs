//! The timestamp signer through its gRPC door: what it signs, and whom it refuses. What all signers share is tested
//! here.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod clocks;
mod rules;
mod state;
mod support;
