//! Runs JavaScript, with the packages that `node/package-lock.json` pins.
//!
//! Where there is no node, all of it is skipped with a loud word, but never in CI.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::installed::{self, run};

/// The packages, pinned, with the digests of all that they need.
const PACKAGE: &str = include_str!("../node/package.json");
const LOCK: &str = include_str!("../node/package-lock.json");

/// A folder below which scripts find the packages; none, said loudly, where there is no node or no npm.
///
/// # Errors
/// Where the packages can't be installed, or in CI there is no node or no npm.
pub async fn environment() -> anyhow::Result<Option<PathBuf>> {
    tokio::task::spawn_blocking(install).await?
}

fn install() -> anyhow::Result<Option<PathBuf>> {
    let missing = "so tuf-js DOES NOT read this repository";
    let Some(node) = installed::version("node", missing)? else { return Ok(None) };
    if installed::version("npm", missing)?.is_none() {
        return Ok(None);
    }
    let install = |folder: &Path| {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("package.json"), PACKAGE)?;
        fs::write(folder.join("package-lock.json"), LOCK)?;
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        run(Command::new("npm").args(quiet).current_dir(folder)).map(drop)
    };
    installed::once("node", &[PACKAGE.as_bytes(), LOCK.as_bytes(), &node], install).map(Some)
}
