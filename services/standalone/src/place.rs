//! Where a system runs: its two ports and its directory, taken before anything is written.

use std::{fs, io, net::SocketAddr, path::Path};

use anyhow::{Context as _, bail};
use rstuf_runtime::listen;
use tokio::net::TcpListener;

use crate::options::Options;

/// What a directory of ours may hold before it has a lock. `example` and `read-back` are of `rstuf dev`.
const OURS: [&str; 10] = [
    "artifacts",
    "coordinator",
    "endpoints.json",
    "example",
    "keys",
    "published",
    "read-back",
    "snapshot",
    "targets",
    "timestamp",
];

/// Keeps a second process out.
const LOCK: &str = "lock";

/// A port that somebody else listens on.
#[derive(Debug, thiserror::Error)]
#[error("the {service} cannot listen on {address}: the port is in use")]
pub struct PortTaken {
    /// Who was to listen there.
    pub service: &'static str,
    /// Where.
    pub address: SocketAddr,
}

/// The ports and the directory of a system, taken; nothing else is done yet.
pub struct Place {
    pub(crate) options: Options,
    pub(crate) coordinator: TcpListener,
    pub(crate) mirror: TcpListener,
    pub(crate) lock: fs::File,
}

impl Place {
    /// Binds the ports, and then takes the directory, which is made where there is none.
    ///
    /// # Errors
    /// [`PortTaken`], or what is wrong with the directory: then nothing was written.
    pub async fn take(options: Options) -> anyhow::Result<Self> {
        let coordinator = bind("coordinator", options.coordinator, false).await?;
        let mirror = bind("mirror", options.mirror, true).await?;
        refuse_foreign(&options.data_dir)?;
        let artifacts = options.artifacts_dir();
        fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("can't create {}", options.data_dir.display()))?;
        let lock = lock(&options.data_dir)?;
        fs::create_dir_all(&artifacts).with_context(|| format!("can't create {}", artifacts.display()))?;
        Ok(Self { options, coordinator, mirror, lock })
    }
}

async fn bind(service: &'static str, address: SocketAddr, insecure_plaintext: bool) -> anyhow::Result<TcpListener> {
    listen::bind(address, insecure_plaintext).await.map_err(|error| match error {
        listen::Error::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            PortTaken { service, address }.into()
        }
        other => other.into(),
    })
}

/// A directory that somebody else keeps things in is none to fill with keys and state.
fn refuse_foreign(data_dir: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("can't read {}", data_dir.display()))?,
    };
    if data_dir.join(LOCK).exists() {
        return Ok(());
    }
    for entry in entries {
        let name = entry.with_context(|| format!("can't read {}", data_dir.display()))?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            bail!(
                "{} holds {}, which is not of a repository: choose a directory that is empty or does not exist",
                data_dir.display(),
                name.display()
            );
        }
    }
    Ok(())
}

/// Takes the directory for this process, before anything in it changes.
fn lock(data_dir: &Path) -> anyhow::Result<fs::File> {
    let path = data_dir.join(LOCK);
    let file = fs::File::create(&path).with_context(|| format!("can't create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            bail!("{} is in use by another process: stop it, or choose another directory", data_dir.display())
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("can't lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_noticed_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { mirror: taken.local_addr().unwrap(), ..Options::new(&data) };
        let refused = Place::take(options).await.err().unwrap();
        assert_eq!(refused.downcast_ref::<PortTaken>().map(|taken| taken.service), Some("mirror"), "{refused}");
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn a_directory_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let refused = Place::take(Options::new(dir.path())).await.err().unwrap().to_string();
        assert!(refused.contains("thesis.tex"), "{refused}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Also after a power cut took the lock, and when somebody put a note into it later.
    #[tokio::test]
    async fn a_directory_of_ours_is_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        drop(Place::take(Options::new(dir.path())).await.unwrap());
        fs::write(dir.path().join("note.txt"), "").unwrap();
        let place = Place::take(Options::new(dir.path())).await.unwrap();
        let second = Place::take(Options::new(dir.path())).await.err().unwrap().to_string();
        assert!(second.contains("in use by another process"), "{second}");
        drop(place);
    }
}
