//! Answers as JSON documents; fields are only ever added.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rstuf_tuf::Layout;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    pub(crate) id: String,
    /// `submission`, `import`, `publish` or `ceremony`.
    pub(crate) kind: &'static str,
    /// How it stands.
    pub(crate) state: TaskState,
    /// When it was accepted.
    pub(crate) created_at: Option<Timestamp>,
    /// When it was done or failed.
    pub(crate) finished_at: Option<Timestamp>,
    /// Changes that it carries.
    pub(crate) changes: u64,
    /// The step that it is in, while running.
    pub(crate) progress: Option<Progress>,
    /// The publication that made it visible.
    pub(crate) publication: Option<u64>,
    /// How its changes ended, when done.
    pub(crate) counts: Option<Counts>,
    /// Why it failed, or is set aside.
    pub(crate) error: Option<TaskError>,
    /// As the caller gave it.
    pub(crate) request_id: Option<String>,
}

/// Where a running task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// `targets`, `snapshot`, `timestamp` or `publish`.
    pub(crate) step: &'static str,
    /// Roles handled in this step.
    pub(crate) roles_done: u32,
    /// Of so many.
    pub(crate) roles_total: u32,
    /// In the step `targets`, roles whose changes went to the signer, which answers when it has signed all.
    pub(crate) roles_sent: u32,
}

/// How many changes ended in each way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// New artifacts.
    pub(crate) added: u64,
    /// Artifacts with other contents than before.
    pub(crate) replaced: u64,
    /// Artifacts that the repository knew exactly so.
    pub(crate) unchanged: u64,
    /// Artifacts that are gone.
    pub(crate) removed: u64,
    /// Nothing to remove there.
    pub(crate) not_found: u64,
}

/// Why a task failed, or is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TaskError {
    /// For programs.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
}

/// How one change ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeResult {
    pub(crate) path: String,
    /// In a word.
    pub(crate) outcome: Outcome,
}

/// What a task is going to do to one artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TaskChange {
    pub(crate) path: String,
    /// `add` or `remove`.
    pub(crate) kind: &'static str,
    /// Bytes, of what is added.
    pub(crate) length: Option<u64>,
    /// Hexadecimal digest of what is added.
    pub(crate) sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Artifact {
    pub(crate) path: String,
    /// Bytes.
    pub(crate) length: u64,
    /// Hexadecimal digests by algorithm.
    pub(crate) hashes: BTreeMap<&'static str, String>,
    /// What clients see as `custom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) custom: Option<Value>,
}

/// How a task stands. What is said of each state here, `--help` says too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum TaskState {
    /// A state that this command does not know yet.
    #[value(skip)]
    Unknown,
    /// Held back until `rstuf publish`
    Held,
    /// Waiting for the next batch
    Waiting,
    /// Being signed and published
    Running,
    /// Every client sees it
    Done,
    /// Nothing of it took effect
    Failed,
    /// Nothing of it took effect, as somebody asked
    Cancelled,
    /// The targets signer refuses it, until somebody retries or cancels it
    SetAside,
}

impl TaskState {
    /// As it is written in answers.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::SetAside => "set_aside",
        }
    }
}

/// How one change ended, or would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// An outcome that this command does not know yet.
    Unknown,
    /// An artifact at a path where there was none.
    Added,
    /// Other contents than before.
    Replaced,
    /// The repository knew exactly this.
    Unchanged,
    /// It is gone.
    Removed,
    /// There was nothing to remove.
    NotFound,
}

impl Outcome {
    /// As it is written in answers.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Added => "added",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::NotFound => "not_found",
        }
    }
}

/// What a repository is, and what its coordinator takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repository {
    /// Of the coordinator.
    pub(crate) program_version: String,
    /// Hexadecimal digest of root 1; none before the ceremony.
    pub(crate) id: Option<String>,
    /// None before the ceremony.
    pub(crate) layout: Option<Layout>,
    /// None before the ceremony.
    pub(crate) lifetimes: Option<Lifetimes>,
    /// Changes in one request; none where the coordinator does not say.
    pub(crate) changes_max: Option<usize>,
    /// Bytes of one request; none where the coordinator does not say.
    pub(crate) request_bytes_max: Option<usize>,
}

/// From signing to expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Lifetimes {
    pub(crate) bins_seconds: u64,
    pub(crate) snapshot_seconds: u64,
    pub(crate) timestamp_seconds: u64,
    pub(crate) targets_seconds: u64,
}

/// How a repository does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    pub(crate) ceremony_held: bool,
    pub(crate) publication: u64,
    pub(crate) published_at: Option<Timestamp>,
    pub(crate) submissions_waiting: u32,
    pub(crate) submissions_running: u32,
    pub(crate) submissions_held: u32,
    pub(crate) submissions_set_aside: u32,
    /// The top-level ones, and of the bins the one that expires first.
    pub(crate) roles: Vec<RoleVersion>,
    pub(crate) roles_total: u32,
    pub(crate) signers: Vec<Signer>,
    /// What the coordinator finds wrong.
    pub(crate) warnings: Vec<String>,
}

/// What is published of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleVersion {
    pub(crate) role: String,
    pub(crate) version: u32,
    pub(crate) expires_at: Option<Timestamp>,
}

/// A signer, as the coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Signer {
    /// What it signs: `targets`, `snapshot` or `timestamp`.
    pub(crate) group: String,
    pub(crate) endpoint: String,
    pub(crate) reachable: bool,
    /// As the signer says; hexadecimal.
    pub(crate) key_id: Option<String>,
    /// What is wrong with it.
    pub(crate) message: Option<String>,
    /// Its public key, as metadata holds it.
    #[serde(skip)]
    pub(crate) key_json: Option<String>,
}

#[cfg(test)]
impl Task {
    /// One that waits, of which nothing more is known.
    pub(crate) fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            kind: "submission",
            state: TaskState::Waiting,
            created_at: None,
            finished_at: None,
            changes: 0,
            progress: None,
            publication: None,
            counts: None,
            error: None,
            request_id: None,
        }
    }
}

impl Task {
    /// Whether whoever waits for it is told now: it is finished, or set aside, which is no end, but a fault that
    /// somebody has to mend first. What is held was to be held, and whoever waits for that waits for a publish.
    #[must_use]
    pub(crate) fn ends_a_wait(&self) -> bool {
        matches!(self.state, TaskState::Done | TaskState::Failed | TaskState::Cancelled | TaskState::SetAside)
    }
}

impl Counts {
    /// The counts that are not zero, in words: `2 added, 1 unchanged`.
    #[must_use]
    pub(crate) fn words(&self) -> String {
        let all = [
            (self.added, "added"),
            (self.replaced, "replaced"),
            (self.unchanged, "unchanged"),
            (self.removed, "removed"),
            (self.not_found, "not found"),
        ];
        let words: Vec<_> =
            all.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if words.is_empty() { "nothing to change".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_state_is_asked_for_as_it_is_written() {
        for state in TaskState::value_variants() {
            let asked_for = state.to_possible_value().unwrap();
            assert_eq!(asked_for.get_name(), state.as_str());
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
