//! The binaries of this checkout.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use tokio::sync::OnceCell;

/// The directory of this repository's checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds every binary of the workspace, as it is now, and answers the directory that they are in.
///
/// # Errors
/// What cargo says.
pub async fn binaries() -> anyhow::Result<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_try_init(async || tokio::task::spawn_blocking(build).await?).await.cloned()
}

fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // `--examples`, of which there are none, selects the features of tests, as `cargo test` does: with others, half of
    // the dependencies would be compiled once more.
    cargo.args([
        "build",
        "--locked",
        "--workspace",
        "--bins",
        "--examples",
        "--message-format=json-render-diagnostics",
    ]);
    if !cfg!(debug_assertions) {
        // The benchmark: services as they are deployed.
        cargo.arg("--release");
    }
    let output = cargo.current_dir(checkout()).stderr(Stdio::inherit()).output().context("can't run cargo")?;
    ensure!(output.status.success(), "cargo could not build the binaries");
    let messages = String::from_utf8(output.stdout)?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    let coordinator = executables.find(|path| path.file_name().is_some_and(|name| name == "rstuf-coordinator"));
    let folder = coordinator.as_deref().and_then(Path::parent).context("cargo built no rstuf-coordinator")?;
    Ok(folder.to_owned())
}
