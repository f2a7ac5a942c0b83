//! The rows of the journal, as JSON: a person with a hex dump can audit them.

mod under_way;

use jiff::Timestamp;
use rstuf_api::{DocumentRef, RequestId};
use rstuf_tuf::{Outcome, RoleName, Sha256, Version};
use serde::{Deserialize, Serialize};

pub(crate) use under_way::{BatchRow, LaneRow, RolePlan, SignedDocument, SignedRoles, Withdrawn};

/// Identity and settings, written at the ceremony.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryRow {
    /// Digest of root 1.
    pub id: Sha256,
    /// "flat", "succinct:256", "prefix:16".
    pub layout: String,
    /// How long what is signed online lives.
    pub lifetimes: Lifetimes,
    /// The newest root.
    pub root: DocumentRef,
    /// The top-level targets, where it is signed offline.
    pub targets: Option<DocumentRef>,
    /// The task of the ceremony.
    pub task: uuid::Uuid,
}

/// Whole seconds from signing to expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetimes {
    /// Of a bin.
    pub bins_seconds: u64,
    /// Of a snapshot.
    pub snapshot_seconds: u64,
    /// Of a timestamp.
    pub timestamp_seconds: u64,
    /// Of the top-level targets in the flat layout.
    pub targets_seconds: u64,
}

/// A ceremony whose first publication is not visible yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CeremonyRow {
    /// Identity and settings to be.
    pub repository: RepositoryRow,
    /// Exact text of root 1.
    pub root: String,
    /// Exact text of targets 1; empty in the flat layout.
    pub targets: String,
}

/// The newest publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicationRow {
    /// Its number, from 1; 0 before the first.
    pub number: u64,
    /// When it became visible.
    pub at: Timestamp,
}

/// What is published of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleRow {
    /// Its version.
    pub version: Version,
    /// Digest of the document's exact bytes.
    pub sha256: Sha256,
    /// Their length.
    pub length: u64,
    /// When it expires.
    pub expires: Timestamp,
}

impl RoleRow {
    /// Names the published document.
    pub(crate) fn reference(&self, role: &RoleName) -> DocumentRef {
        DocumentRef { role: role.clone(), version: self.version, sha256: self.sha256, length: self.length }
    }
}

/// An acknowledged submission. Its changes stand in parts of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubmissionRow {
    /// The task that follows it.
    pub task: uuid::Uuid,
    /// Number of parts.
    pub parts: u32,
    /// Changes in all parts.
    pub changes: u64,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Whether it is held back until a publish is asked for.
    pub hold: bool,
    /// How it is asked for.
    #[serde(default)]
    pub standing: Standing,
    /// The submitter's trace, as W3C `traceparent`.
    pub trace: Option<String>,
}

/// How a submission is asked for: a batch that is refused without naming those at fault is taken apart, until the one
/// at fault is alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// With whatever else there is.
    #[default]
    Trusted,
    /// A batch with it was refused: without renewals, and with so many submissions at most, itself among them.
    Suspect(usize),
    /// Not at all: it was refused alone, and waits for somebody to retry or cancel it.
    SetAside,
}

/// A task, as far as it has to survive a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskRow {
    /// What was asked for.
    pub kind: TaskKind,
    /// How it stands.
    pub state: TaskState,
    /// When it was acknowledged.
    pub created: Timestamp,
    /// When it was finished.
    pub finished: Option<Timestamp>,
    /// Changes that it carries.
    pub changes: u64,
    /// Parts of its results.
    pub parts: u32,
    /// The publication that made it visible; 0 for none.
    pub publication: u64,
    /// How its changes ended.
    pub counts: Counts,
    /// Why it failed, or is set aside.
    pub error: Option<TaskError>,
    /// As the caller gave it; may be empty.
    pub request_id: String,
}

impl TaskRow {
    /// A task that waits, and carries nothing yet.
    pub(crate) fn new(kind: TaskKind, created: Timestamp) -> Self {
        Self {
            kind,
            state: TaskState::Waiting,
            created,
            finished: None,
            changes: 0,
            parts: 0,
            publication: 0,
            counts: Counts::default(),
            error: None,
            request_id: String::new(),
        }
    }

    /// Whether nothing more will happen to it.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.is_some()
    }
}

/// An import that is not acknowledged yet. Its changes stand in parts of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportRow {
    /// As the caller gave it.
    #[serde(with = "request_id")]
    pub request_id: Option<RequestId>,
    /// Whether it will be held back until a publish is asked for.
    pub hold: bool,
    /// Whether it ends with the call that streams it.
    pub one_call: bool,
    /// Changes in all parts.
    pub changes: u64,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Number of parts.
    pub parts: u32,
    /// Digest of its changes so far, the same however they are cut into parts.
    pub digest: Sha256,
    /// What was before the last part.
    pub previous: Option<Appended>,
    /// When it was created, or appended to last.
    pub touched: Timestamp,
}

/// Where a part of an import was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// Changes before it.
    pub offset: u64,
    /// Digest of those.
    pub digest: Sha256,
}

/// Request ids as text, empty for none.
mod request_id {
    use rstuf_api::RequestId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(id: &Option<RequestId>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_ref().map_or("", RequestId::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RequestId>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
    }
}

/// What a task was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskKind {
    /// SubmitArtifacts.
    Submission,
    /// ImportArtifacts.
    Import,
    /// PublishArtifacts.
    Publish,
    Ceremony,
}

impl TaskKind {
    /// The name in the journal and in refusals.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Import => "import",
            Self::Publish => "publish",
            Self::Ceremony => "ceremony",
        }
    }
}

/// How a task stands. That it is running is not written: a batch says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TaskState {
    /// Held back until a publish is asked for.
    Held,
    /// Waiting for a batch.
    Waiting,
    /// Visible to clients.
    Done,
    /// Nothing of it took effect.
    Failed,
    /// Nothing of it took effect, as somebody asked.
    Cancelled,
    /// Refused for good, until somebody retries or cancels it.
    SetAside,
}

/// Why a task failed, or is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskError {
    /// For programs.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// How many changes ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// A path that was not there.
    pub added: u64,
    /// A path that was there with other content.
    pub replaced: u64,
    /// A path that was there with this content.
    pub unchanged: u64,
    /// A path that was there.
    pub removed: u64,
    /// Nothing to remove.
    pub not_found: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            added: self.added + other.added,
            replaced: self.replaced + other.replaced,
            unchanged: self.unchanged + other.unchanged,
            removed: self.removed + other.removed,
            not_found: self.not_found + other.not_found,
        }
    }

    /// Counts one more.
    pub(crate) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Added => &mut self.added,
            Outcome::Replaced => &mut self.replaced,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Removed => &mut self.removed,
            Outcome::NotFound => &mut self.not_found,
        } += 1;
    }
}

/// A request id that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestRow {
    /// The task it was answered with.
    pub task: uuid::Uuid,
    /// What it asked for.
    pub body: Body,
}

/// What tells two requests with the same id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    /// Digest of its changes; that of none for a publish request.
    pub digest: Sha256,
    /// Whether they are held.
    pub hold: bool,
}
