//! The runtime as services use it, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod config;
mod connections;
mod probes;
mod process;
mod repeat;
mod retry;
mod serve;
mod trace;
mod unread;
