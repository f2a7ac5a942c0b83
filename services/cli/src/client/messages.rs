//! Messages into what verbs show, and what verbs say into messages.

use jiff::Timestamp;
use prost::Message as _;
use rstuf_api::{
    convert,
    proto::{artifacts::v1 as artifacts, repository::v1 as repository, tasks::v1 as tasks},
};
use rstuf_tuf::{Change, HashAlgorithm, Target, TargetPath};

use crate::view::{
    Artifact, ChangeResult, Counts, Health, Lifetimes, Outcome, Progress, Repository, RoleVersion, Signer, Task,
    TaskChange, TaskError, TaskState,
};

/// One change, as it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outgoing(artifacts::Change);

impl From<&Change> for Outgoing {
    fn from(change: &Change) -> Self {
        Self(change.into())
    }
}

impl Outgoing {
    pub(super) fn message(&self) -> &artifacts::Change {
        &self.0
    }

    /// Bytes that it takes in a message at most: with its tag and its length, of 1 and 5 bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.encoded_len() + 6
    }
}

/// The changes of one message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Part {
    changes: Vec<artifacts::Change>,
    bytes: usize,
}

impl Part {
    /// Number of changes.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes that they take in a message, at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, change: Outgoing) {
        self.bytes += change.size();
        self.changes.push(change.0);
    }

    pub(super) fn into_changes(self) -> Vec<artifacts::Change> {
        self.changes
    }
}

/// An addition as the repository answers it once it is published.
pub(crate) fn addition(path: &TargetPath, target: &Target) -> Artifact {
    convert::artifact_message(path, target).into()
}

/// What is asked for where tasks of one state are wanted.
pub(super) fn wanted_state(state: Option<TaskState>) -> tasks::TaskState {
    match state {
        None | Some(TaskState::Unknown) => tasks::TaskState::Unspecified,
        Some(TaskState::Held) => tasks::TaskState::Held,
        Some(TaskState::Waiting) => tasks::TaskState::Waiting,
        Some(TaskState::Running) => tasks::TaskState::Running,
        Some(TaskState::Done) => tasks::TaskState::Done,
        Some(TaskState::Failed) => tasks::TaskState::Failed,
        Some(TaskState::Cancelled) => tasks::TaskState::Cancelled,
        Some(TaskState::SetAside) => tasks::TaskState::SetAside,
    }
}

impl From<tasks::Task> for Task {
    fn from(message: tasks::Task) -> Self {
        Self {
            kind: kind_name(message.kind()),
            state: task_state(message.state()),
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
    fn from(message: tasks::Progress) -> Self {
        let step = match message.step() {
            tasks::Step::Unspecified => "unknown",
            tasks::Step::Targets => "targets",
            tasks::Step::Snapshot => "snapshot",
            tasks::Step::Timestamp => "timestamp",
            tasks::Step::Publish => "publish",
        };
        let tasks::Progress { roles_done, roles_total, roles_sent, .. } = message;
        Self { step, roles_done, roles_total, roles_sent }
    }
}

impl From<tasks::Counts> for Counts {
    fn from(message: tasks::Counts) -> Self {
        let tasks::Counts { added, replaced, unchanged, removed, not_found } = message;
        Self { added, replaced, unchanged, removed, not_found }
    }
}

impl From<tasks::ChangeResult> for ChangeResult {
    fn from(message: tasks::ChangeResult) -> Self {
        let outcome = match message.outcome() {
            tasks::Outcome::Unspecified => Outcome::Unknown,
            tasks::Outcome::Added => Outcome::Added,
            tasks::Outcome::Replaced => Outcome::Replaced,
            tasks::Outcome::Unchanged => Outcome::Unchanged,
            tasks::Outcome::Removed => Outcome::Removed,
            tasks::Outcome::NotFound => Outcome::NotFound,
        };
        Self { path: message.path, outcome }
    }
}

impl From<tasks::TaskChange> for TaskChange {
    fn from(message: tasks::TaskChange) -> Self {
        let (kind, adds) = match message.kind() {
            tasks::ChangeKind::Unspecified => ("unknown", false),
            tasks::ChangeKind::Add => ("add", true),
            tasks::ChangeKind::Remove => ("remove", false),
        };
        let (length, sha256) = (message.length, hex::encode(&message.sha256));
        Self { path: message.path, kind, length: adds.then_some(length), sha256: adds.then_some(sha256) }
    }
}

impl From<artifacts::Artifact> for Artifact {
    fn from(message: artifacts::Artifact) -> Self {
        let named = |hash: &artifacts::Hash| (algorithm_name(hash.algorithm()), hex::encode(&hash.digest));
        Self {
            hashes: message.hashes.iter().map(named).collect(),
            custom: serde_json::from_str(&message.custom_json).ok(),
            path: message.path,
            length: message.length,
        }
    }
}

impl From<repository::DescribeRepositoryResponse> for Repository {
    fn from(message: repository::DescribeRepositoryResponse) -> Self {
        let seconds = |message| convert::duration("lifetimes", message).map_or(0, |it| it.as_secs());
        let lifetimes = message.lifetimes.map(|it| Lifetimes {
            bins_seconds: seconds(it.bins),
            snapshot_seconds: seconds(it.snapshot),
            timestamp_seconds: seconds(it.timestamp),
            targets_seconds: seconds(it.targets),
        });
        let told = |limit: u64| usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let limits = message.limits.unwrap_or_default();
        Self {
            program_version: message.program_version,
            id: text(hex::encode(&message.repository_id)),
            layout: convert::layout("layout", message.layout).ok(),
            lifetimes,
            changes_max: told(limits.changes_per_submission_max.into()),
            request_bytes_max: told(limits.message_bytes_max),
        }
    }
}

impl From<repository::GetStatusResponse> for Health {
    fn from(message: repository::GetStatusResponse) -> Self {
        Self {
            ceremony_held: message.ceremony_held,
            publication: message.publication,
            published_at: message.published_at.and_then(time),
            submissions_waiting: message.submissions_waiting,
            submissions_running: message.submissions_running,
            submissions_held: message.submissions_held,
            submissions_set_aside: message.submissions_set_aside,
            roles: message.roles.into_iter().map(RoleVersion::from).collect(),
            roles_total: message.roles_total,
            signers: message.signers.into_iter().map(Signer::from).collect(),
            warnings: message.warnings,
        }
    }
}

impl From<repository::RoleStatus> for RoleVersion {
    fn from(message: repository::RoleStatus) -> Self {
        Self { role: message.role, version: message.version, expires_at: message.expires_at.and_then(time) }
    }
}

impl From<repository::SignerStatus> for Signer {
    fn from(message: repository::SignerStatus) -> Self {
        let group = convert::signer_group("group", message.group);
        let key = message.public_key.map(|key| (hex::encode(key.key_id), key.key_json));
        let (key_id, key_json) = key.unzip();
        Self {
            group: group.map_or_else(|_| "unknown".to_owned(), |role| role.to_string()),
            endpoint: message.endpoint,
            reachable: message.reachable,
            key_id,
            message: text(message.message),
            key_json,
        }
    }
}

fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn time(message: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(message.seconds, message.nanos).ok()
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

fn task_state(state: tasks::TaskState) -> TaskState {
    match state {
        tasks::TaskState::Unspecified => TaskState::Unknown,
        tasks::TaskState::Held => TaskState::Held,
        tasks::TaskState::Waiting => TaskState::Waiting,
        tasks::TaskState::Running => TaskState::Running,
        tasks::TaskState::Done => TaskState::Done,
        tasks::TaskState::Failed => TaskState::Failed,
        tasks::TaskState::Cancelled => TaskState::Cancelled,
        tasks::TaskState::SetAside => TaskState::SetAside,
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
            progress: Some(tasks::Progress {
                step: tasks::Step::Snapshot.into(),
                roles_done: 1,
                roles_total: 2,
                roles_sent: 0,
            }),
            publication: 7,
            counts: Some(tasks::Counts { added: 2, unchanged: 1, ..Default::default() }),
            error: None,
            request_id: String::new(),
        };
        let task = Task::from(message);
        assert!(task.ends_a_wait());
        assert_eq!(task.counts.as_ref().unwrap().words(), "2 added, 1 unchanged");
        let json = serde_json::to_value(&task).unwrap();
        let expected = serde_json::json!({
            "id": "t1", "kind": "submission", "state": "done",
            "created_at": "1970-01-01T00:00:00.5Z", "finished_at": null, "changes": 3,
            "progress": {"step": "snapshot", "roles_done": 1, "roles_total": 2, "roles_sent": 0},
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
