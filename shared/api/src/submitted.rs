//! A message that is not generated: what is a message of its own in `proto/` stays bytes here.

use bytes::Bytes;

/// A change in a signing request. It stays as it is encoded, a `rstuf.artifacts.v1.Change`: there may be millions, and
/// whoever passes one on, or asks only for its path, makes no objects of it.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct SubmittedChange {
    /// The submission's number within the batch; refusals name it.
    #[prost(uint32, tag = "1")]
    pub submission: u32,
    /// The encoded change.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub change: Option<Bytes>,
}
