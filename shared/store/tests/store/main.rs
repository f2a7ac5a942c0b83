//! The store: its handle, its default backend against the contract, and the simulated power cut.
#![allow(clippy::unwrap_used, clippy::panic)]

mod batches;
mod conformance;
mod directory;
mod handle;
mod log;
mod powercut;
mod space;
mod support;
