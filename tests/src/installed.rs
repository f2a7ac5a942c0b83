//! Programs that are not ours, and packages for them, installed below the target directory, once.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

/// What a program says of its version; none, said loudly with what is `missing` then, where there is no such program.
///
/// # Errors
/// In CI, where there is none: there, its judgement is not optional.
pub(crate) fn version(program: &str, missing: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let asked = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    if let Some(output) = asked.ok().filter(|output| output.status.success()) {
        return Ok(Some(output.stdout));
    }
    ensure!(!in_ci(), "there is no {program}, and in CI its judgement is not optional");
    // Not through the test's captured output: who runs the tests is to see it.
    writeln!(std::io::stderr(), "\nSKIPPED: there is no {program}, {missing}\n")?;
    Ok(None)
}

/// A folder that is filled by `install`, once for all that runs at the same time and later, and anew where what is
/// `pinned` changes.
///
/// # Errors
/// What `install` says.
pub(crate) fn once(
    name: &str,
    pinned: &[&[u8]],
    install: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let key = pinned.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize();
    let folder = target_dir().join(format!("{name}-{}", &hex::encode(key)[..16]));
    let ready = folder.join("ready");
    fs::create_dir_all(target_dir())?;
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    if !ready.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        install(&folder)?;
        File::create(ready)?;
    }
    Ok(folder)
}

/// Runs a command to its end; answers its standard output.
///
/// # Errors
/// Where it fails: all that it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("can't run {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{said}\n{complained}", output.status);
    Ok(said)
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

fn target_dir() -> PathBuf {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(ours, PathBuf::from)
}
