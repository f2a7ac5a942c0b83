//! The mirror over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, dead_code)]

mod artifacts;
mod connections;
mod memory;
mod metadata;
#[path = "../../../../shared/updater/tests/support/repository.rs"]
mod repository;
mod shares;
mod support;
