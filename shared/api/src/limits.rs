//! Limits of the interface, one name each.

/// Changes in one submission, and in one message of an import.
pub const CHANGES_PER_SUBMISSION_MAX: usize = 10_000;

/// A message of a build system, in bytes: 10,000 changes of ordinary length with room to spare. Larger ones are
/// answered OUT_OF_RANGE.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message that carries a signed document, in bytes: the largest document and its frame.
pub const DOCUMENT_MESSAGE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 1024 * 1024;

/// A signed document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Every other message, in bytes.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Format of signing requests that this program writes and understands.
pub const SIGNING_FORMAT: u32 = 1;

/// Changes in one message of a signing request.
pub const CHANGES_PER_SIGNING_MESSAGE_MAX: usize = 10_000;

/// Bytes of all changes in one signing request, as a coordinator makes it; the targets signer takes more.
pub const SIGNING_REQUEST_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Roles in one call of `GetDocuments`.
pub const ROLES_PER_CALL_MAX: usize = 1_024;
