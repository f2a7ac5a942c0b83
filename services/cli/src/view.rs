//! Answers as JSON documents; fields are only ever added.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rstuf_api::convert;
use rstuf_api::proto::{artifacts::v1 as artifacts, repository::v1 as repository, tasks::v1 as tasks};
use rstuf_tuf::HashAlgorithm;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    pub(crate) id: String,
    /// `submission`, `import`, `publish` or `ceremony`.
    pub(crate) kind: &'static str,
    /// `held`, `waiting`, `running`, `done` or `failed`.
    pub(crate) state: &'static str,
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
    /// Why it failed.
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

/// Why a task failed.
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
    /// `added`, `replaced`, `unchanged`, `removed` or `not_found`.
    pub(crate) outcome: &'static str,
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

impl Task {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, "done" | "failed" | "cancelled")
    }
}

impl From<tasks::Task> for Task {
    fn from(message: tasks::Task) -> Task {
        Task {
            kind: kind_name(message.kind()),
            state: state_name(message.state()),
            created_at: message.created_at.and_then(time),
            finished_at: message.finished_at.and_then(time),
            changes: message.changes,
            progress: message.progress.map(Progress::from),
            publication: (message.publication != 0).then_some(message.publication),
            counts: message.counts.map(Counts::from),
            error: message.error.map(|error| TaskError { reason: error.reason, message: error.message }),
            request_id: (!message.request_id.is_empty()).then_some(message.request_id),
            id: message.id,
        }
    }
}

impl From<tasks::Progress> for Progress {
    fn from(message: tasks::Progress) -> Progress {
        let step = match message.step() {
            tasks::Step::Unspecified => "unknown",
            tasks::Step::Targets => "targets",
            tasks::Step::Snapshot => "snapshot",
            tasks::Step::Timestamp => "timestamp",
            tasks::Step::Publish => "publish",
        };
        Progress { step, roles_done: message.roles_done, roles_total: message.roles_total }
    }
}

impl From<tasks::Counts> for Counts {
    fn from(message: tasks::Counts) -> Counts {
        let tasks::Counts { added, replaced, unchanged, removed, not_found } = message;
        Counts { added, replaced, unchanged, removed, not_found }
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

impl From<tasks::ChangeResult> for ChangeResult {
    fn from(message: tasks::ChangeResult) -> ChangeResult {
        let outcome = match message.outcome() {
            tasks::Outcome::Unspecified => "unknown",
            tasks::Outcome::Added => "added",
            tasks::Outcome::Replaced => "replaced",
            tasks::Outcome::Unchanged => "unchanged",
            tasks::Outcome::Removed => "removed",
            tasks::Outcome::NotFound => "not_found",
        };
        ChangeResult { path: message.path, outcome }
    }
}

impl From<tasks::TaskChange> for TaskChange {
    fn from(message: tasks::TaskChange) -> TaskChange {
        let (kind, adds) = match message.kind() {
            tasks::ChangeKind::Unspecified => ("unknown", false),
            tasks::ChangeKind::Add => ("add", true),
            tasks::ChangeKind::Remove => ("remove", false),
        };
        let (length, sha256) = (message.length, hex::encode(&message.sha256));
        TaskChange { path: message.path, kind, length: adds.then_some(length), sha256: adds.then_some(sha256) }
    }
}

impl From<artifacts::Artifact> for Artifact {
    fn from(message: artifacts::Artifact) -> Artifact {
        let named = |hash: &artifacts::Hash| (algorithm_name(hash.algorithm()), hex::encode(&hash.digest));
        Artifact {
            hashes: message.hashes.iter().map(named).collect(),
            custom: serde_json::from_str(&message.custom_json).ok(),
            path: message.path,
            length: message.length,
        }
    }
}

/// A time as answers hold it.
#[must_use]
pub(crate) fn time(message: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(message.seconds, message.nanos).ok()
}

/// What the signer of a status signs, in a word.
#[must_use]
pub(crate) fn group(signer: &repository::SignerStatus) -> String {
    convert::signer_group("group", signer.group).map_or_else(|_| "unknown".to_owned(), |role| role.to_string())
}

fn kind_name(kind: tasks::TaskKind) -> &'static str {
    match kind {
        tasks::TaskKind::Unspecified => "unknown",
        tasks::TaskKind::Submission => "submission",
        tasks::TaskKind::Import => "import",
        tasks::TaskKind::Publish => "publish",
        tasks::TaskKind::Ceremony => "ceremony",
    }
}

fn state_name(state: tasks::TaskState) -> &'static str {
    match state {
        tasks::TaskState::Unspecified => "unknown",
        tasks::TaskState::Held => "held",
        tasks::TaskState::Waiting => "waiting",
        tasks::TaskState::Running => "running",
        tasks::TaskState::Done => "done",
        tasks::TaskState::Failed => "failed",
        tasks::TaskState::Cancelled => "cancelled",
    }
}

fn algorithm_name(algorithm: artifacts::HashAlgorithm) -> &'static str {
    algorithm.checked().map_or("unknown", HashAlgorithm::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape is a promise to scripts: a change here is a change of the interface.
    #[test]
    fn a_task_as_json() {
        let message = tasks::Task {
            id: "t1".into(),
            kind: tasks::TaskKind::Submission.into(),
            state: tasks::TaskState::Done.into(),
            created_at: Some(prost_types::Timestamp { seconds: 0, nanos: 500_000_000 }),
            finished_at: None,
            changes: 3,
            progress: Some(tasks::Progress { step: tasks::Step::Snapshot.into(), roles_done: 1, roles_total: 2 }),
            publication: 7,
            counts: Some(tasks::Counts { added: 2, unchanged: 1, ..Default::default() }),
            error: None,
            request_id: String::new(),
        };
        let task = Task::from(message);
        assert!(task.is_finished());
        assert_eq!(task.counts.as_ref().unwrap().words(), "2 added, 1 unchanged");
        let json = serde_json::to_value(&task).unwrap();
        let expected = serde_json::json!({
            "id": "t1", "kind": "submission", "state": "done",
            "created_at": "1970-01-01T00:00:00.5Z", "finished_at": null, "changes": 3,
            "progress": {"step": "snapshot", "roles_done": 1, "roles_total": 2},
            "publication": 7,
            "counts": {"added": 2, "replaced": 0, "unchanged": 1, "removed": 0, "not_found": 0},
            "error": null, "request_id": null,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn an_artifact_as_json() {
        let hash =
            artifacts::Hash { algorithm: artifacts::HashAlgorithm::Sha256.into(), digest: vec![0xab; 32].into() };
        let artifact = |custom: &str| artifacts::Artifact {
            path: "a/b".into(),
            length: 5,
            hashes: vec![hash.clone()],
            custom_json: custom.into(),
        };
        let json = |custom: &str| serde_json::to_value(Artifact::from(artifact(custom))).unwrap();
        let plain = serde_json::json!({"path": "a/b", "length": 5, "hashes": {"sha256": "ab".repeat(32)}});
        assert_eq!(json(""), plain);
        assert_eq!(json("{\"k\":1}")["custom"]["k"], 1);
    }
}
