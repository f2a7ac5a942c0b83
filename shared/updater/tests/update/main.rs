//! The client against a repository, honest or not, over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod lookups;
mod refreshes;
#[path = "../support/repository.rs"]
mod repository;
mod roots;
#[path = "../support/server.rs"]
mod server;
mod support;
