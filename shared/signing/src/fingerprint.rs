//! What identifies a signing request.

use rstuf_api::signing::Header;
use rstuf_tuf::{Revision, RoleName, Sha256};
use sha2::Digest as _;

/// The digest of a whole request, which tells a retry from another request. It does not depend on how a stream is cut
/// into messages, nor on the roots that the request hands over: those change nothing of what is signed.
#[derive(Debug, Clone)]
pub struct Fingerprint(sha2::Sha256);

impl Fingerprint {
    /// Begins with the header.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let mut fingerprint = Self(sha2::Sha256::new());
        fingerprint.part(header.repository.as_bytes()).part(header.batch_id.as_bytes());
        fingerprint
    }

    /// Adds bytes, kept apart from what stands before and after.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a revision.
    pub fn revision(&mut self, role: &RoleName, revision: &Revision) -> &mut Self {
        self.part(role.as_str().as_bytes()).part(&revision.version.get().to_be_bytes());
        self.part(&revision.expires.as_second().to_be_bytes());
        match &revision.base {
            None => self.part(&[]),
            Some(base) => {
                self.part(&base.version.get().to_be_bytes()).part(base.sha256.as_bytes());
                self.part(&base.length.to_be_bytes())
            }
        }
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}
