//! Stable reasons, for programs: the `reason` of an `ErrorInfo`, and of a failed task.

use std::fmt;

/// One line for each reason: its documentation, its name here and its name on the wire.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a request was refused, as far as programs must tell cases apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
        }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name on the wire, in upper case.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

refusals! {
    /// The evidence or the request belongs to another repository.
    WrongRepository = "WRONG_REPOSITORY",
    /// The repository had no ceremony yet.
    NoCeremony = "NO_CEREMONY",
    /// The signer was not told yet which repository it serves.
    NotPinned = "NOT_PINNED",
    /// Pinned to another root already.
    AlreadyPinned = "ALREADY_PINNED",
    /// The signer knows an older base than the request names: hand it the published document of metadata `role`.
    BaseBehind = "BASE_BEHIND",
    /// The signer knows another base, or a newer one, than the request names.
    BaseMismatch = "BASE_MISMATCH",
    /// The key signed something else under this version.
    VersionUsed = "VERSION_USED",
    /// More than 16 versions above base and watermark.
    VersionTooHigh = "VERSION_TOO_HIGH",
    /// The role rises by more versions than its budget allows now.
    VersionBudget = "VERSION_BUDGET",
    /// The expiry lies beyond what the signer's own configuration allows, or has passed.
    ExpiresOutOfBounds = "EXPIRES_OUT_OF_BOUNDS",
    /// The signer's clock stands before a time at which it signed.
    ClockWentBack = "CLOCK_WENT_BACK",
    /// The signer's clock went further forward than time can have.
    ClockJumped = "CLOCK_JUMPED",
    /// The signer does not sign this role, or a path does not belong to the role.
    WrongRole = "WRONG_ROLE",
    /// A document would grow over the signer's limit; metadata `submissions` names those at fault.
    DocumentTooLarge = "DOCUMENT_TOO_LARGE",
    /// A role would lose more artifacts than the signer's operators allow at once, or in a day; metadata `submissions`
    /// names those at fault.
    TooManyRemovals = "TOO_MANY_REMOVALS",
    /// Evidence is unsigned, half-signed, wrongly signed, not what the request says, or expired by the signer's clock:
    /// then metadata `expired_at` says when.
    EvidenceInvalid = "EVIDENCE_INVALID",
    /// The signer's key has provably signed something newer than its state knows: its disk was restored.
    StateRestored = "STATE_RESTORED",
    /// A field of the request is not what is allowed; the `BadRequest` beside it names each.
    InvalidField = "INVALID_FIELD",
    /// What is asked for does not exist.
    NotFound = "NOT_FOUND",
    /// What would be made exists, and differs.
    Exists = "EXISTS",
    /// The request id was used with another body, or for an import that is to be created; metadata `task` is what it
    /// was answered with, `kind` (`submission`, `import` or `publish`), `hold` and `digest` (as that of an import, in
    /// hexadecimal digits) what it was used for.
    RequestIdUsed = "REQUEST_ID_USED",
    /// The request id is that of an open import, metadata `import`, which nothing else takes.
    ImportOpen = "IMPORT_OPEN",
    /// The system is not in the state that the request needs.
    WrongState = "WRONG_STATE",
    /// The task is not done: it has no results.
    TaskNotDone = "TASK_NOT_DONE",
    /// The task is being signed and published.
    TaskRunning = "TASK_RUNNING",
    /// The task ended already.
    TaskFinished = "TASK_FINISHED",
    /// The task is not set aside: there is nothing to retry.
    TaskNotSetAside = "TASK_NOT_SET_ASIDE",
    /// An import goes on at another place than the request says; metadata `next_offset`.
    OffsetMismatch = "OFFSET_MISMATCH",
    /// The import is a task already; metadata `task`.
    ImportCommitted = "IMPORT_COMMITTED",
    /// Not now.
    Unavailable = "UNAVAILABLE",
    /// The coordinator's start is not over.
    Starting = "STARTING",
    /// The coordinator stops.
    Stopping = "STOPPING",
    /// A signer does not answer.
    SignerUnreachable = "SIGNER_UNREACHABLE",
    /// A defect or a broken disk of ours.
    Internal = "INTERNAL",
    /// The queue, or a limit on what is held, is full.
    QueueFull = "QUEUE_FULL",
    /// There is no space on the disk for the request; nothing changed.
    DiskFull = "DISK_FULL",
}

impl Refusal {
    /// The reason with this name on the wire; none if it is not known here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|refusal| refusal.as_str() == text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
