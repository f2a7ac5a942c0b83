//! The command as a person and a script use it, against the whole system in one process.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod artifacts;
mod dev;
mod imports;
mod mistakes;
mod silence;
mod support;
mod tasks;
