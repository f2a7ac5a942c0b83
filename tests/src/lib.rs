//! The test harness: whole systems, clients of theirs, and judges that are not ours.
//!
//! [`TestRepo`] is every service in one process, [`processes::Processes`] five; [`Client`] a build system that talks to
//! one. After each scenario an independent client judges what the mirror serves: [`python::Judge`] (python-tuf) and
//! [`tough_judge::Judge`].
#![allow(clippy::unwrap_used, clippy::panic)]

pub mod client;
mod installed;
pub mod node;
pub mod processes;
pub mod python;
mod repo;
pub mod tough_judge;

use std::{collections::BTreeMap, time::Duration};

pub use client::Client;
pub use repo::{Builder, TestRepo};

/// What a client must find under each path: these bytes, or nothing.
pub type Expected = BTreeMap<String, Option<Vec<u8>>>;

/// How long anything may take that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
///
/// # Errors
/// When [`DEADLINE`] has passed.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.map_err(|_| anyhow::anyhow!("{what}: not within {} s", DEADLINE.as_secs()))
}

/// Asks again and again until the condition holds.
///
/// # Errors
/// What `condition` says, or that [`DEADLINE`] has passed.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let asked = async {
        while !condition().await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    within(what, asked).await?
}
