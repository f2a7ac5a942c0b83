//! Limits of the interface, one name each, and which message each of them is about.

use rstuf_tuf::{Bins, HashAlgorithm};

/// Changes in one submission, and in one message of an import.
pub const CHANGES_PER_SUBMISSION_MAX: usize = 10_000;

/// A message of a build system, in bytes: 10,000 changes of ordinary length with room to spare. Larger ones are
/// answered OUT_OF_RANGE.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A message that carries a signed document, in bytes: the largest document and its frame.
pub const DOCUMENT_MESSAGE_BYTES_MAX: usize = DOCUMENT_BYTES_MAX + 1024 * 1024;

/// A signed document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Every other message, in bytes: the longest is a call of `GetDocuments` with as many names as it may have.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Format of signing requests that this program writes and understands.
pub const SIGNING_FORMAT: u32 = 1;

/// Changes in one message of a signing request.
pub const CHANGES_PER_SIGNING_MESSAGE_MAX: usize = 10_000;

/// Bytes of all changes in one signing request, as a coordinator makes it; the targets signer takes more.
pub const SIGNING_REQUEST_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Roles in one call of `GetDocuments`.
pub const ROLES_PER_CALL_MAX: usize = 1_024;

/// Documents in one stream to a signer: all bins that a repository can have, and the top-level targets.
pub const DOCUMENTS_PER_STREAM_MAX: usize = Bins::MAX as usize + 1;

/// Roots in one request: more updates than a repository makes while a signer sleeps.
pub const ROOTS_PER_REQUEST_MAX: usize = 1_024;

/// Outcomes in one message of a targets signer's answer.
pub const OUTCOMES_PER_MESSAGE_MAX: usize = 100_000;

/// Entries in one page of a list, and in a list that has no pages.
const ENTRIES_PER_ANSWER_MAX: usize = 10_000;

/// Hashes in one message: as many as so many artifacts can have.
const HASHES_PER_MESSAGE_MAX: usize = CHANGES_PER_SUBMISSION_MAX * HashAlgorithm::ALL.len();

/// How many elements of each repeated field one message may have, wherever in it they stand: a field of two bytes
/// becomes an object of many. A message with more is refused before anything is made of it.
pub(crate) const ELEMENTS_MAX: [(&str, usize); 17] = [
    ("rstuf.artifacts.v1.Artifact.hashes", HASHES_PER_MESSAGE_MAX),
    ("rstuf.artifacts.v1.SubmitArtifactsRequest.changes", CHANGES_PER_SUBMISSION_MAX),
    ("rstuf.artifacts.v1.ImportArtifactsRequest.changes", CHANGES_PER_SUBMISSION_MAX),
    ("rstuf.artifacts.v1.AppendImportRequest.changes", CHANGES_PER_SUBMISSION_MAX),
    ("rstuf.artifacts.v1.ListArtifactsResponse.artifacts", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.tasks.v1.ListTasksResponse.tasks", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.tasks.v1.ListTaskResultsResponse.results", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.tasks.v1.ListTaskChangesResponse.changes", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.repository.v1.GetStatusResponse.roles", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.repository.v1.GetStatusResponse.signers", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.repository.v1.GetStatusResponse.warnings", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.repository.v1.ListSignersResponse.signers", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.signer.v1.DescribeSignerResponse.public_keys", ENTRIES_PER_ANSWER_MAX),
    ("rstuf.signer.v1.GetDocumentsRequest.roles", ROLES_PER_CALL_MAX),
    ("rstuf.signer.v1.SigningHeader.roots", ROOTS_PER_REQUEST_MAX),
    ("rstuf.signer.v1.RoleChanges.changes", CHANGES_PER_SIGNING_MESSAGE_MAX),
    ("rstuf.signer.v1.SignTargetsResponse.outcomes", OUTCOMES_PER_MESSAGE_MAX),
];

/// The largest message that a method takes, in bytes, by its path as HTTP has it.
#[must_use]
pub fn request_bytes_max(path: &str) -> usize {
    match path.rsplit('/').next().unwrap_or_default() {
        "SubmitArtifacts" | "ImportArtifacts" | "AppendImport" => REQUEST_BYTES_MAX,
        "HoldCeremony" | "Pin" | "LoadDocuments" | "SignTargets" | "SignSnapshot" | "SignTimestamp" => {
            DOCUMENT_MESSAGE_BYTES_MAX
        }
        _ => SMALL_MESSAGE_BYTES_MAX,
    }
}
