//! The names of all metrics, spelled once. Counters get the suffix `_total` when they are exposed.
//!
//! `deploy/METRICS.md` lists them for operators.
//!
//! Every metric carries the label `service`.

/// gRPC requests answered, by method (`/package.Service/Method`) and status code.
pub const GRPC_REQUESTS: &str = "rstuf_grpc_requests";
/// Seconds from a gRPC request's arrival to the end of its answer, by method.
pub const GRPC_REQUEST_SECONDS: &str = "rstuf_grpc_request_seconds";
/// gRPC requests being answered now.
pub const GRPC_REQUESTS_IN_FLIGHT: &str = "rstuf_grpc_requests_in_flight";
/// Connections open now on the service's listener.
pub const CONNECTIONS: &str = "rstuf_connections";
/// Connections closed at once, as all places were taken by others with requests.
pub const CONNECTIONS_REFUSED: &str = "rstuf_connections_refused";
/// Connections closed as they had no request: for too long, to make room, or at a stop.
pub const CONNECTIONS_CLOSED_IDLE: &str = "rstuf_connections_closed_idle";
/// Submissions that wait for a batch.
pub const QUEUE_DEPTH: &str = "rstuf_queue_depth";
/// Submissions that are held until a publish is asked for.
pub const SUBMISSIONS_HELD: &str = "rstuf_submissions_held";
/// Submissions that a signer refuses, until somebody retries or cancels them.
pub const SUBMISSIONS_SET_ASIDE: &str = "rstuf_submissions_set_aside";
/// Seconds since the oldest request was acknowledged that is to be published and is not yet; 0 for none.
pub const OLDEST_SUBMISSION_SECONDS: &str = "rstuf_oldest_submission_seconds";
/// Whether a signer answered when it was asked last, by group: 1 or 0.
pub const SIGNER_REACHABLE: &str = "rstuf_signer_reachable";
/// Seconds that the state store took to make an entry durable.
pub const STORE_COMMIT_SECONDS: &str = "rstuf_store_commit_seconds";
/// Finished tasks in the files of the history.
pub const HISTORY_TASKS: &str = "rstuf_history_tasks";
/// Bytes of the files of the history.
pub const HISTORY_BYTES: &str = "rstuf_history_bytes";
/// Finished tasks that were forgotten, because of their `age` or of the `bound` on all.
pub const TASKS_FORGOTTEN: &str = "rstuf_tasks_forgotten";
/// Submissions in a batch.
pub const BATCH_SUBMISSIONS: &str = "rstuf_batch_submissions";
/// Changes in a batch.
pub const BATCH_CHANGES: &str = "rstuf_batch_changes";
/// Seconds that an effect of a publication took, by effect.
pub const EFFECT_SECONDS: &str = "rstuf_effect_seconds";
/// Attempts at an effect that failed, by effect.
pub const EFFECT_FAILURES: &str = "rstuf_effect_failures";
/// Publications that became visible.
pub const PUBLICATIONS: &str = "rstuf_publications";
/// Submissions and imports that ended, by result: done or failed.
pub const SUBMISSIONS: &str = "rstuf_submissions";
/// Signatures made, by role.
pub const SIGNATURES: &str = "rstuf_signatures";
/// Signing requests refused, by reason.
pub const SIGN_REFUSALS: &str = "rstuf_sign_refusals";
/// Seconds from a signing request to its signed document, by role.
pub const SIGN_SECONDS: &str = "rstuf_sign_seconds";
/// Seconds until the published metadata of a role expires; negative once it has.
pub const EXPIRY_SECONDS: &str = "rstuf_expiry_seconds";
/// HTTP requests answered by a mirror, by kind (`timestamp`, `metadata`, `artifact`, `other`) and status.
pub const HTTP_REQUESTS: &str = "rstuf_http_requests";
/// Seconds from a request's arrival at a mirror to the end of its answer, by kind.
pub const HTTP_REQUEST_SECONDS: &str = "rstuf_http_request_seconds";
/// Bytes of bodies that a mirror sent, as they went over the wire, by kind.
pub const HTTP_BODY_BYTES: &str = "rstuf_http_body_bytes";
/// Files that a mirror hashed, by kind (`metadata`, `artifact`): each once for each state of it.
pub const FILES_HASHED: &str = "rstuf_files_hashed";
/// Requests for artifacts whose stored bytes do not have their digest.
pub const ARTIFACT_MISMATCHES: &str = "rstuf_artifact_mismatches";
/// Bytes of memory that the process occupies.
pub const RESIDENT_BYTES: &str = "rstuf_resident_bytes";
/// Bytes that may still be written to the disk of a directory, by what the directory is for.
pub const FREE_BYTES: &str = "rstuf_free_bytes";
/// What runs: its version is a label. It is exposed with the suffix `_info`.
pub const BUILD: &str = "rstuf_build";
