//! The directory from which a mirror serves artifacts: each file under its SHA-256.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rstuf_tuf::Sha256;
use sha2::Digest as _;

use crate::error::Error;

/// Copies a file to where the mirror finds it: under its digest, and only if it still has that.
pub(crate) fn copy(source: &Path, directory: &Path, digest: Sha256) -> Result<(), Error> {
    let target = directory.join(digest.to_string());
    if target.exists() {
        return Ok(());
    }
    let temporary = directory.join(format!("{digest}.incoming"));
    let copied = || -> io::Result<Sha256> {
        fs::copy(source, &temporary)?;
        let mut file = File::open(&temporary)?;
        let mut hasher = sha2::Sha256::new();
        io::copy(&mut file, &mut HashWriter(&mut hasher))?;
        file.sync_all()?;
        Ok(Sha256(hasher.finalize().into()))
    };
    let unusable = |error: io::Error| Error::failed(format!("{} cannot be copied: {error}", source.display()));
    if copied().map_err(unusable)? != digest {
        let message = format!("{} changed while it was being copied", source.display());
        return Err(Error::failed(message).next("start again when whoever writes it is done"));
    }
    fs::rename(&temporary, &target).map_err(unusable)
}

/// Takes what is written into a digest.
struct HashWriter<'a>(&'a mut sha2::Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
