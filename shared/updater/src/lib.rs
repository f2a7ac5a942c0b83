//! A TUF client: keeps verified metadata of one repository, finds targets in it and downloads them.
//!
//! The rules are those of `rstuf_tuf` (the client workflow of the TUF specification, section 5); here are only the
//! requests, their bounds, and what is remembered between runs. Metadata and targets are fetched over plain HTTP, which
//! is safe: nothing is believed for where it came from.
//!
//! ```no_run
//! # async fn example(root: Vec<u8>, now: jiff::Timestamp) -> Result<(), rstuf_updater::Error> {
//! use rstuf_updater::{Options, Updater};
//!
//! let options = Options::new("http://127.0.0.1:8080/metadata", "http://127.0.0.1:8080/targets", root);
//! let mut updater = Updater::new(options)?;
//! updater.refresh(now).await?;
//! let path = "app/program.tar.gz".parse().expect("a valid path");
//! let bytes = updater.download(&path).await?;
//! # Ok(())
//! # }
//! ```
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `error`: why an update failed
//! 2. `options`: what a client is told
//! 3. `fetch`: bounded requests
//! 4. `state`: what is remembered
//! 5. `download`: targets
//! 6. `updater`: the workflow
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod download;
mod error;
mod fetch;
mod options;
mod state;
mod updater;

pub use crate::error::Error;
pub use crate::options::{Limits, Options};
pub use crate::updater::Updater;
