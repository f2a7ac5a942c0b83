//! Signing requests as checked types, and what identifies one.

use bytes::Bytes;
use rstuf_api::convert::{self, DocumentRef};
use rstuf_api::proto::signer::v1 as proto;
use rstuf_api::{Violation, limits};
use rstuf_tuf::{RoleName, Sha256, Version};
use sha2::Digest as _;

use crate::{Error, Result};

/// Roots in one request: more updates than a repository makes while a signer sleeps.
const ROOTS_MAX: usize = 1024;
/// Length of a batch id in bytes.
const BATCH_ID_BYTES_MAX: usize = 128;

/// What every signing request says first.
#[derive(Debug, Clone)]
pub struct Header {
    /// SHA-256 of root 1.
    pub repository: Sha256,
    /// The coordinator's random name of the step.
    pub batch_id: String,
    /// Roots newer than the signer may know, in order.
    pub roots: Vec<Bytes>,
}

impl TryFrom<proto::SigningHeader> for Header {
    type Error = Error;

    fn try_from(message: proto::SigningHeader) -> Result<Header> {
        if message.format != limits::SIGNING_FORMAT {
            let description = format!("{}, allowed is {}", message.format, limits::SIGNING_FORMAT);
            return Err(Error::invalid("header.format", description));
        }
        let repository = Sha256::try_from(&*message.repository_id);
        let repository = repository.map_err(convert::violation("header.repository_id"))?;
        let id = message.batch_id;
        if id.is_empty() || id.len() > BATCH_ID_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let description = format!("allowed are 1 to {BATCH_ID_BYTES_MAX} printable ASCII characters");
            return Err(Error::invalid("header.batch_id", description));
        }
        if message.roots.len() > ROOTS_MAX {
            let description = format!("{} roots, allowed are at most {ROOTS_MAX}", message.roots.len());
            return Err(Error::invalid("header.roots", description));
        }
        Ok(Header { repository, batch_id: id, roots: message.roots })
    }
}

/// The next version of one document, and what it replaces.
#[derive(Debug, Clone)]
pub struct Revision {
    /// What the requester takes for the newest document; none for the first version.
    pub base: Option<DocumentRef>,
    /// Version and expiry of the new one.
    pub new: rstuf_tuf::Revision,
}

impl Revision {
    /// Reads the revision of `role`.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn read(role: &RoleName, message: Option<proto::Revision>) -> Result<Revision> {
        let message = message.ok_or_else(|| Error::invalid("revision", format!("missing for {role}")))?;
        let base = message.base.map(DocumentRef::try_from).transpose().map_err(|violation| Violation {
            field: format!("revision.base.{}", violation.field),
            description: violation.description,
        })?;
        if let Some(base) = base.as_ref().filter(|base| base.role != *role) {
            return Err(Error::invalid("revision.base.role", format!("{}, allowed is {role}", base.role)));
        }
        let version = Version::new(message.version).map_err(convert::violation("revision.version"))?;
        let expires = convert::timestamp("revision.expires", message.expires)?;
        Ok(Revision { base, new: rstuf_tuf::Revision { version, expires } })
    }
}

/// The digest of a whole request, which tells a retry from another request. It does not depend on how a stream is cut into
/// messages, nor on the roots that the request hands over: those change nothing of what is signed.
#[derive(Debug, Clone)]
pub struct Fingerprint(sha2::Sha256);

impl Fingerprint {
    /// Begins with the header.
    #[must_use]
    pub fn new(header: &Header) -> Fingerprint {
        let mut fingerprint = Fingerprint(sha2::Sha256::new());
        fingerprint.part(header.repository.as_bytes()).part(header.batch_id.as_bytes());
        fingerprint
    }

    /// Adds bytes, kept apart from what stands before and after.
    pub fn part(&mut self, bytes: &[u8]) -> &mut Fingerprint {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a revision.
    pub fn revision(&mut self, role: &RoleName, revision: &Revision) -> &mut Fingerprint {
        self.part(role.as_str().as_bytes()).part(&revision.new.version.get().to_be_bytes());
        self.part(&revision.new.expires.as_second().to_be_bytes());
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
