//! Stable reasons, for programs: the `reason` of an `ErrorInfo`, and of a failed task.

/// The evidence or the request belongs to another repository.
pub const WRONG_REPOSITORY: &str = "WRONG_REPOSITORY";
/// The signer, or the repository, had no ceremony yet.
pub const NOT_PINNED: &str = "NOT_PINNED";
/// Pinned to another root already.
pub const ALREADY_PINNED: &str = "ALREADY_PINNED";
/// The signer knows an older base than the request names: hand it the published document of metadata `role`.
pub const BASE_BEHIND: &str = "BASE_BEHIND";
/// The signer knows another base, or a newer one, than the request names.
pub const BASE_MISMATCH: &str = "BASE_MISMATCH";
/// The key signed something else under this version.
pub const VERSION_USED: &str = "VERSION_USED";
/// More than 16 versions above base and watermark.
pub const VERSION_TOO_HIGH: &str = "VERSION_TOO_HIGH";
/// The expiry lies beyond what the signer's own configuration allows, or has passed.
pub const EXPIRES_OUT_OF_BOUNDS: &str = "EXPIRES_OUT_OF_BOUNDS";
/// The signer's clock stands before a time at which it signed.
pub const CLOCK_WENT_BACK: &str = "CLOCK_WENT_BACK";
/// The signer does not sign this role, or a path does not belong to the role.
pub const WRONG_ROLE: &str = "WRONG_ROLE";
/// A document would grow over the signer's limit; metadata `submissions` names those at fault.
pub const DOCUMENT_TOO_LARGE: &str = "DOCUMENT_TOO_LARGE";
/// Evidence is unsigned, half-signed, wrongly signed, expired, or not what the request says.
pub const EVIDENCE_INVALID: &str = "EVIDENCE_INVALID";
/// The signer's key has provably signed something newer than its state knows: its disk was restored.
pub const STATE_RESTORED: &str = "STATE_RESTORED";
/// The queue, or a limit on what is held, is full.
pub const QUEUE_FULL: &str = "QUEUE_FULL";
/// There is no space on the disk for the request; nothing changed.
pub const DISK_FULL: &str = "DISK_FULL";
