//! Signing requests as checked types, and the bytes by which a change is told from others and kept.

use std::borrow::Cow;

use bytes::Bytes;
use prost::{DecodeError, Message as _};
use rstuf_tuf::{Change, DocumentRef, Revision, RoleName, Sha256, TargetPath, Version};

use crate::{
    Violation, convert, limits,
    plain::Plain,
    proto::{artifacts::v1 as artifacts, signer::v1 as proto},
};

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
    type Error = Violation;

    fn try_from(message: proto::SigningHeader) -> Result<Self, Violation> {
        if message.format != limits::SIGNING_FORMAT {
            let description = format!("{}, allowed is {}", message.format, limits::SIGNING_FORMAT);
            return Err(Violation::new("header.format", description));
        }
        let repository = Sha256::try_from(&*message.repository_id);
        let repository = repository.map_err(convert::violation("header.repository_id"))?;
        let id = message.batch_id;
        if id.is_empty() || id.len() > BATCH_ID_BYTES_MAX || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let description = format!("allowed are 1 to {BATCH_ID_BYTES_MAX} printable ASCII characters");
            return Err(Violation::new("header.batch_id", description));
        }
        Ok(Self { repository, batch_id: id, roots: message.roots })
    }
}

/// Reads the revision of `role`.
///
/// # Errors
/// The first violation.
pub fn revision(role: &RoleName, message: Option<proto::Revision>) -> Result<Revision, Violation> {
    let message = message.ok_or_else(|| Violation::new("revision", format!("missing for {role}")))?;
    let base = message.base.map(DocumentRef::try_from).transpose();
    let base = base.map_err(|error| error.within("revision.base"))?;
    if let Some(base) = base.as_ref().filter(|base| base.role != *role) {
        return Err(Violation::new("revision.base.role", format!("{}, allowed is {role}", base.role)));
    }
    let version = Version::new(message.version).map_err(convert::violation("revision.version"))?;
    let expires = convert::timestamp("revision.expires", message.expires)?;
    Ok(Revision { base, version, expires })
}

impl From<&Revision> for proto::Revision {
    fn from(revision: &Revision) -> Self {
        Self {
            base: revision.base.as_ref().map(Into::into),
            version: revision.version.get(),
            expires: Some(convert::timestamp_message(revision.expires)),
        }
    }
}

/// Checks an encoded change and gives the bytes by which it is kept, which [`decode_change`] reads again.
///
/// # Errors
/// The first violation; its field is relative to the change.
pub fn encode_change(encoded: &[u8]) -> Result<Cow<'_, [u8]>, Violation> {
    if Plain::of(encoded).is_some() {
        return Ok(encoded.into());
    }
    let malformed = |error: DecodeError| Violation::new("kind", format!("malformed: {error}"));
    let message = artifacts::Change::decode(encoded).map_err(malformed)?;
    let encoded = message.encode_to_vec();
    convert::change(message)?;
    Ok(encoded.into())
}

/// Reads what [`encode_change`] gave; none for anything else.
#[must_use]
pub fn decode_change(encoded: &[u8]) -> Option<Change> {
    match Plain::of(encoded) {
        Some(plain) => plain.change(),
        None => convert::change(artifacts::Change::decode(encoded).ok()?).ok(),
    }
}

/// Reads the path alone of what [`encode_change`] gave, which is much less work; none for anything else.
#[must_use]
pub fn path_of_change(encoded: &[u8]) -> Option<TargetPath> {
    if let Some(plain) = Plain::of(encoded) {
        return plain.path().try_into().ok();
    }
    let PathOfChange { add, remove_path } = PathOfChange::decode(encoded).ok()?;
    let path = add.map_or(remove_path, |artifact| artifact.path);
    path.as_str().try_into().ok()
}

/// What is read of a change where only its path counts; the rest is passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct PathOfChange {
    #[prost(message, optional, tag = "1")]
    add: Option<PathOfArtifact>,
    #[prost(string, tag = "2")]
    remove_path: String,
}

/// What is read of an artifact where only its path counts.
#[derive(Clone, PartialEq, prost::Message)]
struct PathOfArtifact {
    #[prost(string, tag = "1")]
    path: String,
}
