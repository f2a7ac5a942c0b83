//! Why a signer refuses, in words for people and reasons for programs.

mod answer;

use std::time::Duration;

use jiff::Timestamp;
use rstuf_api::Violation;
use rstuf_tuf::{RoleName, Sha256, Version};

/// The result of a signer's call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request was refused. Nothing is signed then, and no base, watermark or stored answer changes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is malformed.
    #[error("{}", .violations[0])]
    Invalid {
        /// The fields at fault; never empty.
        violations: Vec<Violation>,
    },
    /// The request belongs to another repository.
    #[error("request is for repository {named}, this signer serves {known}")]
    WrongRepository {
        /// The repository of the request.
        named: Sha256,
        /// The signer's.
        known: Sha256,
    },
    /// The signer has no root yet.
    #[error("signer is not pinned to a repository yet: hold the ceremony, or pin it to root 1")]
    NotPinned,
    /// The signer is pinned to another root.
    #[error("signer is pinned to repository {known} for ever, not to {named}")]
    AlreadyPinned {
        /// The root offered.
        named: Sha256,
        /// The root pinned.
        known: Sha256,
    },
    /// The root offered is not the one that the configuration names.
    #[error("root 1 has sha256 {named}, the configured root_sha256 is {configured}")]
    RootNotConfigured {
        /// The root offered.
        named: Sha256,
        /// The configured digest.
        configured: Sha256,
    },
    /// The root or targets document offered does not pin this signer.
    #[error("can't pin: {reason}")]
    PinRefused {
        /// What is wrong with them.
        reason: String,
    },
    /// The request's base is newer than the one known.
    #[error(
        "{role}: request names base version {named}, this signer knows {}: load the published document first",
        version_or_none(.known)
    )]
    BaseBehind {
        /// The role.
        role: RoleName,
        /// The version of the request's base.
        named: Version,
        /// The version known.
        known: Option<Version>,
    },
    /// The request's base is not the one known.
    #[error("{role}: request names {named} as its base, this signer knows {known}")]
    BaseMismatch {
        /// The role.
        role: RoleName,
        /// The request's base.
        named: String,
        /// The base known.
        known: String,
    },
    /// The version was given to another document.
    #[error("{role} version {version} was used before and never is again, allowed is {least} and above")]
    VersionUsed {
        /// The role.
        role: RoleName,
        /// The version asked for.
        version: Version,
        /// The lowest version free.
        least: u64,
    },
    /// The version is too far above what was signed.
    #[error("{role} version {version} is too high, allowed is at most {most}")]
    VersionTooHigh {
        /// The role.
        role: RoleName,
        /// The version asked for.
        version: Version,
        /// The highest version allowed.
        most: u64,
    },
    /// The role rises too fast.
    #[error(
        "{role} rises by more than 4 versions a second, after a burst of 1000: try again in {} s",
        .wait.as_secs_f64().ceil()
    )]
    VersionBudget {
        /// The role.
        role: RoleName,
        /// How long until the version is allowed.
        wait: Duration,
    },
    /// The expiry is in the past or too far away.
    #[error("{role} would expire at {expires}, allowed is after {now} and at most {latest}")]
    Expires {
        /// The role.
        role: RoleName,
        /// The expiry asked for.
        expires: Timestamp,
        /// The signer's time.
        now: Timestamp,
        /// The latest expiry allowed.
        latest: Timestamp,
    },
    /// The clock stands before a time at which this signer signed.
    #[error(
        "clock says {now}, but this signer signed at {seen}: set the clock right; where it is right, stop this signer \
         and run it once with `reset-clock`"
    )]
    ClockWentBack {
        /// The time now.
        now: Timestamp,
        /// The highest time seen.
        seen: Timestamp,
    },
    /// The clock went further forward than time can have.
    #[error(
        "clock says {now}, by what this signer knows it is {expected}, and at most {} s later are believed: set the \
         clock right; where it is right, stop this signer and run it once with `reset-clock`",
        .max.as_secs()
    )]
    ClockJumped {
        /// The time now.
        now: Timestamp,
        /// The time that it should be.
        expected: Timestamp,
        /// By how much it may be later.
        max: Duration,
    },
    /// The signer's key does not sign this role, or a path does not belong to it.
    #[error("{role}: {reason}")]
    WrongRole {
        /// The role.
        role: RoleName,
        /// Why not.
        reason: String,
    },
    /// Documents would grow over the limit.
    #[error("{role} would be larger than {bytes_max} bytes{}", by(.submissions))]
    TooLarge {
        /// The first role at fault.
        role: RoleName,
        /// The limit.
        bytes_max: usize,
        /// The submissions at fault, ascending.
        submissions: Vec<u32>,
    },
    /// Artifacts would vanish faster than this signer's operators allow.
    #[error(
        "{role} would lose more than {most} artifacts by submissions {}: the targets signer's settings \
         removals_per_publication_max and removals_per_day_max allow no more now",
        list(.submissions)
    )]
    TooManyRemovals {
        /// The first role at fault.
        role: RoleName,
        /// How many it may lose now.
        most: u64,
        /// The submissions at fault, ascending.
        submissions: Vec<u32>,
    },
    /// A document does not prove what it should.
    #[error("{role}: {reason}")]
    Evidence {
        /// The document's role.
        role: RoleName,
        /// What is wrong with it.
        reason: String,
    },
    /// A document proves nothing any more, by this signer's clock.
    #[error("{role}: it expired at {expires}, this signer's clock says {now}")]
    EvidenceExpired {
        /// The document's role.
        role: RoleName,
        /// When it expired.
        expires: Timestamp,
        /// The signer's time.
        now: Timestamp,
    },
    /// This signer's key has signed what its state does not know.
    #[error(
        "this signer's state is older than what its key has signed ({evidence}): its disk was restored or cloned. It \
         signs nothing any more: give the signer an empty state directory and a new key, and put that key into the \
         next root"
    )]
    Restored {
        /// What proved it.
        evidence: String,
    },
    /// There is no document of the role.
    #[error("there is no document of role {role} here")]
    NotFound {
        /// The role.
        role: RoleName,
    },
    /// The disk is full; nothing was changed.
    #[error("{0}")]
    NoSpace(rstuf_store::Error),
    /// A large request could not be kept on the disk while it was worked on; nothing was changed.
    #[error("can't keep the request in the state directory: {source}")]
    Spool {
        /// The system's answer.
        #[from]
        source: std::io::Error,
    },
    /// The key source did not answer.
    #[error(transparent)]
    Key(#[from] rstuf_keys::Error),
    /// The own signature did not verify: it was not let out.
    #[error("{role} version {version}: own signature did not verify, nothing was let out: {reason}")]
    SelfCheck {
        /// The role.
        role: RoleName,
        /// The version.
        version: Version,
        /// What the check said.
        reason: String,
    },
    /// The state does not hold what it must.
    #[error("state is corrupt: {reason}: leave the directory as it is, and replace this signer by one with a new key")]
    Corrupt {
        /// What does not fit.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(rstuf_store::Error),
    /// A defect of ours.
    #[error("task of the signer ended: {reason}")]
    Task {
        /// How.
        reason: String,
    },
}

fn version_or_none(version: &Option<Version>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

/// Answers travel in bounded headers. Whoever fails the submissions named, and asks again, learns of the others.
const SUBMISSIONS_NAMED_MAX: usize = 256;

fn list(numbers: &[u32]) -> String {
    numbers.iter().take(SUBMISSIONS_NAMED_MAX).map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Whose fault it is, for people. It may be nobody's: what is there already is over a limit.
fn by(numbers: &[u32]) -> String {
    if numbers.is_empty() { String::new() } else { format!(" by submissions {}", list(numbers)) }
}

impl Error {
    /// One malformed field.
    pub fn invalid(field: &str, description: impl Into<String>) -> Self {
        Self::Invalid { violations: vec![Violation::new(field, description)] }
    }

    /// Evidence of `role` that does not prove what it should.
    pub fn evidence(role: &RoleName, reason: impl ToString) -> Self {
        Self::Evidence { role: role.clone(), reason: reason.to_string() }
    }

    /// A role that this signer's key does not sign, or a path of another role.
    pub fn wrong_role(role: &RoleName, reason: impl Into<String>) -> Self {
        Self::WrongRole { role: role.clone(), reason: reason.into() }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid { violations: vec![violation] }
    }
}

impl From<rstuf_store::Error> for Error {
    fn from(error: rstuf_store::Error) -> Self {
        match error {
            rstuf_store::Error::NoSpace { .. } => Self::NoSpace(error),
            error => Self::Store(error),
        }
    }
}
