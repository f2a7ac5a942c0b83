//! Loose messages into checked types, once, where they arrive; checked types into messages, which can't fail.

mod layout;
mod time;

use std::collections::HashSet;

use bytes::Bytes;
use rstuf_tuf::{
    Change, Custom, DocumentRef, HashAlgorithm, Hashes, Outcome, RoleName, Sha256, Target, TargetPath, Version,
};

pub use layout::{layout, signer_group, signer_group_message};
pub use time::{duration, duration_message, timestamp, timestamp_message};

use crate::{
    Violation, limits,
    proto::{artifacts::v1 as artifacts, metadata::v1 as metadata, tasks::v1 as tasks},
};

impl From<&DocumentRef> for metadata::DocumentRef {
    fn from(document: &DocumentRef) -> Self {
        Self {
            role: document.role.to_string(),
            version: document.version.get(),
            sha256: Bytes::copy_from_slice(document.sha256.as_bytes()),
            length: document.length,
        }
    }
}

impl TryFrom<metadata::DocumentRef> for DocumentRef {
    type Error = Violation;

    fn try_from(message: metadata::DocumentRef) -> Result<Self, Violation> {
        Ok(Self {
            role: role_name("role", &message.role)?,
            version: Version::new(message.version).map_err(violation("version"))?,
            sha256: Sha256::try_from(&*message.sha256).map_err(violation("sha256"))?,
            length: message.length,
        })
    }
}

/// Reads a role name, top-level or delegated.
///
/// # Errors
/// The violation names `field`.
pub fn role_name(field: &str, text: &str) -> Result<RoleName, Violation> {
    text.parse().map_err(violation(field))
}

/// Reads an artifact path.
///
/// # Errors
/// The violation names `field`.
pub fn target_path(field: &str, text: &str) -> Result<TargetPath, Violation> {
    TargetPath::try_from(text).map_err(violation(field))
}

/// Reads the changes of one submission: 1 to 10,000, every path once where `unique_paths`.
///
/// # Errors
/// Every violation, not only the first.
pub fn changes(messages: Vec<artifacts::Change>, unique_paths: bool) -> Result<Vec<Change>, Vec<Violation>> {
    if messages.is_empty() || messages.len() > limits::CHANGES_PER_SUBMISSION_MAX {
        let description =
            format!("{} changes, allowed are 1 to {}", messages.len(), limits::CHANGES_PER_SUBMISSION_MAX);
        return Err(vec![Violation { field: "changes".into(), description }]);
    }
    let mut checked = Vec::with_capacity(messages.len());
    let mut violations = Vec::new();
    for (index, message) in messages.into_iter().enumerate() {
        match change(message).and_then(visible) {
            Ok(change) => checked.push((index, change)),
            Err(error) => violations.push(error.within(&format!("changes[{index}]"))),
        }
    }
    if unique_paths {
        let mut paths = HashSet::new();
        for (index, change) in checked.iter().filter(|(_, change)| !paths.insert(change.path())) {
            let description =
                format!("`{}` stands in this submission before, a path may stand in it once", change.path());
            violations.push(Violation { field: format!("changes[{index}].path"), description });
        }
    }
    if violations.is_empty() { Ok(checked.into_iter().map(|(_, change)| change).collect()) } else { Err(violations) }
}

/// Reads one change.
///
/// # Errors
/// The first violation; its field is relative to the change.
pub fn change(message: artifacts::Change) -> Result<Change, Violation> {
    match message.kind {
        Some(artifacts::change::Kind::Add(artifact)) => {
            let (path, target) = checked_artifact(artifact).map_err(|error| error.within("add"))?;
            Ok(Change::Add { path, target })
        }
        Some(artifacts::change::Kind::RemovePath(path)) => {
            Ok(Change::Remove { path: target_path("remove_path", &path)? })
        }
        None => {
            Err(Violation { field: "kind".into(), description: "nothing set, allowed are add and remove_path".into() })
        }
    }
}

/// What is added must look like what it is; what is there may be removed whatever it looks like.
fn visible(change: Change) -> Result<Change, Violation> {
    if let Change::Add { path, .. } = &change {
        path.check_visible().map_err(violation("add.path"))?;
    }
    Ok(change)
}

fn checked_artifact(message: artifacts::Artifact) -> Result<(TargetPath, Target), Violation> {
    let path = target_path("path", &message.path)?;
    let hashes = hashes("hashes", &message.hashes)?;
    let custom = match message.custom_json.as_str() {
        "" => None,
        json => Some(Custom::from_json(json.as_bytes()).map_err(violation("custom_json"))?),
    };
    let target = Target::new(message.length, hashes, custom).map_err(violation("length"))?;
    Ok((path, target))
}

fn hashes(field: &str, messages: &[artifacts::Hash]) -> Result<Hashes, Violation> {
    let refuse = |description: String| Violation { field: field.to_owned(), description };
    let mut seen = Vec::new();
    for (index, hash) in messages.iter().enumerate() {
        let algorithm = hash
            .algorithm()
            .checked()
            .ok_or_else(|| refuse(format!("hashes[{index}]: unknown algorithm, allowed are {}", algorithms())))?;
        if seen.iter().any(|(known, _)| *known == algorithm) {
            return Err(refuse(format!("{algorithm} stands in it twice, allowed is once")));
        }
        seen.push((algorithm, &hash.digest));
    }
    let sha256 = seen.iter().find(|(algorithm, _)| *algorithm == HashAlgorithm::Sha256);
    let (_, sha256) = sha256.ok_or_else(|| refuse("SHA256 is missing, it must be among them".to_owned()))?;
    let start = Hashes::sha256(Sha256::try_from(sha256.as_ref()).map_err(violation(field))?);
    let add = |hashes: Hashes, (algorithm, digest): &(HashAlgorithm, &Bytes)| hashes.with(*algorithm, digest);
    seen.iter().try_fold(start, add).map_err(violation(field))
}

impl From<HashAlgorithm> for artifacts::HashAlgorithm {
    fn from(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256,
            HashAlgorithm::Sha512 => Self::Sha512,
            HashAlgorithm::Blake2b256 => Self::Blake2b256,
        }
    }
}

impl artifacts::HashAlgorithm {
    /// The checked algorithm; none for what is not one.
    pub fn checked(self) -> Option<HashAlgorithm> {
        HashAlgorithm::ALL.into_iter().find(|algorithm| Self::from(*algorithm) == self)
    }
}

/// Names of the algorithms on the wire, for people.
fn algorithms() -> String {
    let prefix = "HASH_ALGORITHM_";
    let names = HashAlgorithm::ALL.map(|algorithm| artifacts::HashAlgorithm::from(algorithm).as_str_name());
    names.map(|name| name.trim_start_matches(prefix)).join(", ")
}

/// An artifact as messages hold it. Digests of algorithms that messages have no name for are left out.
pub fn artifact_message(path: &TargetPath, target: &Target) -> artifacts::Artifact {
    let hash = |algorithm: HashAlgorithm| {
        let digest = target.hashes().get(algorithm)?;
        Some(artifacts::Hash { algorithm: artifacts::HashAlgorithm::from(algorithm).into(), digest: digest.into() })
    };
    artifacts::Artifact {
        path: path.to_string(),
        length: target.length(),
        hashes: HashAlgorithm::ALL.into_iter().filter_map(hash).collect(),
        custom_json: target.custom().map(Custom::to_json).unwrap_or_default(),
    }
}

impl From<&Change> for artifacts::Change {
    fn from(change: &Change) -> Self {
        let kind = match change {
            Change::Add { path, target } => artifacts::change::Kind::Add(artifact_message(path, target)),
            Change::Remove { path } => artifacts::change::Kind::RemovePath(path.to_string()),
        };
        Self { kind: Some(kind) }
    }
}

impl tasks::GetTaskRequest {
    /// Asks for the task with this id.
    pub fn by_id(id: impl Into<String>) -> Self {
        Self { key: Some(tasks::get_task_request::Key::Id(id.into())) }
    }

    /// Asks for the task of the request that was sent with this id.
    pub fn by_request_id(id: impl Into<String>) -> Self {
        Self { key: Some(tasks::get_task_request::Key::RequestId(id.into())) }
    }
}

impl From<Outcome> for tasks::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Added => Self::Added,
            Outcome::Replaced => Self::Replaced,
            Outcome::Unchanged => Self::Unchanged,
            Outcome::Removed => Self::Removed,
            Outcome::NotFound => Self::NotFound,
        }
    }
}

impl tasks::Outcome {
    /// The checked outcome; none for what is not one.
    pub fn checked(self) -> Option<Outcome> {
        match self {
            Self::Unspecified => None,
            Self::Added => Some(Outcome::Added),
            Self::Replaced => Some(Outcome::Replaced),
            Self::Unchanged => Some(Outcome::Unchanged),
            Self::Removed => Some(Outcome::Removed),
            Self::NotFound => Some(Outcome::NotFound),
        }
    }
}

/// Turns an error of a checked type into a violation of `field`.
pub fn violation<E: std::fmt::Display>(field: &str) -> impl Fn(E) -> Violation {
    move |error| Violation { field: field.to_owned(), description: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name must look like what it is to be added; to be removed it need not.
    #[test]
    fn what_looks_like_something_else_is_not_added_but_removed() {
        let (path, sha256) = ("invoice-gpj.\u{202e}exe", vec![1; 32].into());
        let hash = artifacts::Hash { algorithm: artifacts::HashAlgorithm::Sha256.into(), digest: sha256 };
        let artifact =
            artifacts::Artifact { path: path.into(), length: 1, hashes: vec![hash], custom_json: String::new() };
        let of = |kind| vec![artifacts::Change { kind: Some(kind) }];
        let refused = changes(of(artifacts::change::Kind::Add(artifact)), true).expect_err("refused");
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].field, "changes[0].add.path");
        assert!(refused[0].description.contains("U+202E"), "{}", refused[0]);
        assert!(changes(of(artifacts::change::Kind::RemovePath(path.into())), true).is_ok());
    }
}
