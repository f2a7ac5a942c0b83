//! The rules of the crate, seen from outside.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod documents;
mod grammar;
mod json;
mod next;
mod trusted_set;
mod vectors;
