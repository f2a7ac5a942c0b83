//! The targets signer through its gRPC door: what it signs, and what it refuses.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod bins;
mod bounds;
mod history;
mod outcomes;
mod requests;
mod support;
