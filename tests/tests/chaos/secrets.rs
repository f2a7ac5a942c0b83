//! What a private key is made of shows nowhere but in its file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rstuf_tests::processes::{Processes, Service};

/// Bytes of an ed25519 key, the last ones of its file.
const SEED_BYTES: usize = 32;

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a key would look like, however it was written.
fn canaries(pem: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(&body)?;
    let seed = der.last_chunk::<SEED_BYTES>().context("a short key")?;
    let decimal = format!("{seed:?}");
    let decimal = decimal.trim_start_matches('[').trim_end_matches(']').to_owned();
    let (lower, upper) = (hex::encode(seed), hex::encode_upper(seed));
    // The first characters are those of every key.
    let base64 = body.get(body.len() / 2..).context("a short key")?.to_owned();
    let texts = [decimal, lower, upper, base64, STANDARD.encode(seed)].map(String::into_bytes);
    Ok(texts.into_iter().chain([seed.to_vec()]).collect())
}

/// Every file below a directory.
fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Signers log all they can while they sign, and no file besides the key's own has the key in it: logs, states, and
/// what is published. And no core of theirs is dumped.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_logged_stored_twice_or_published() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:2").await?;
    let mut signers = Vec::new();
    for signer in Service::SIGNERS {
        system.terminate(signer).await?;
        let log = File::options().append(true).open(system.log(signer))?;
        let mut command = system.command(signer);
        command
            .args(["--log-filter", "trace,h2=trace,hyper=trace,tower=trace"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        signers.push(Running(command.spawn()?));
    }
    let client = system.client()?;
    client.add(&[("a", b"b")]).await?;
    let mut keys = Vec::new();
    for (signer, running) in Service::SIGNERS.into_iter().zip(&signers) {
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.0.id()))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("no limit of cores")?;
        ensure!(core.split_whitespace().nth(4) == Some("0"), "{core}");
        let key = dir.path().join(signer.name()).join("key.pem");
        keys.push((fs::read_to_string(&key)?, key));
        let log = fs::read_to_string(system.log(signer))?;
        ensure!(log.contains("TRACE"), "{} has not logged all", signer.name());
    }
    drop(signers);
    let files = files(dir.path())?;
    for (pem, own) in &keys {
        for canary in canaries(pem)? {
            for file in files.iter().filter(|file| *file != own) {
                let found = holds(&fs::read(file)?, &canary);
                ensure!(!found, "the key of {} is in {}", own.display(), file.display());
            }
        }
    }
    Ok(())
}

fn holds(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}
