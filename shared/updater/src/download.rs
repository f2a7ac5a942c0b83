//! Targets, checked while they stream in.

use rstuf_tuf::{HashAlgorithm, Target, TargetPath};
use sha2::Digest;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{Error, fetch::Remote};

/// Fetches a target into `out`. What was written is the target only if this succeeds.
///
/// # Errors
///
/// Among others [`Error::TooLong`] as soon as there is more than the target's length, and [`Error::Mismatch`] at the
/// end.
pub(crate) async fn fetch(
    remote: &Remote,
    path: &TargetPath,
    target: &Target,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Error> {
    let mut answer = remote.open(&path.with_digest(target.hashes().as_sha256()), target.length()).await?;
    let mut check = Check::new(target);
    while let Some(piece) = answer.next().await? {
        check.update(&piece);
        let written = out.write_all(&piece).await;
        written.map_err(|source| Error::File { path: path.as_str().into(), source })?;
    }
    check.finish().map_err(|what| Error::Mismatch { path: path.clone(), what })
}

/// Length and hashes of what streams by, against what the metadata states.
struct Check<'a> {
    target: &'a Target,
    length: u64,
    sha256: sha2::Sha256,
    /// Computed only where the metadata states it.
    sha512: Option<(sha2::Sha512, Vec<u8>)>,
}

impl<'a> Check<'a> {
    fn new(target: &'a Target) -> Self {
        let sha512 = target.hashes().get(HashAlgorithm::Sha512).map(|stated| (sha2::Sha512::new(), stated));
        Self { target, length: 0, sha256: sha2::Sha256::new(), sha512 }
    }

    fn update(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        self.sha256.update(piece);
        if let Some((sha512, _)) = &mut self.sha512 {
            sha512.update(piece);
        }
    }

    fn finish(self) -> Result<(), &'static str> {
        if self.length != self.target.length() {
            return Err("length");
        }
        let sha256 = self.sha256.finalize().as_slice() == self.target.hashes().as_sha256().as_bytes();
        let sha512 = self.sha512.is_none_or(|(computed, stated)| computed.finalize().as_slice() == stated);
        if sha256 && sha512 { Ok(()) } else { Err("hashes") }
    }
}
