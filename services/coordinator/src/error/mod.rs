//! What can go wrong in the coordinator.

mod action;
mod answer;
mod passing;
mod violations;

use std::{
    io,
    path::{Path, PathBuf},
};

use rstuf_api::{Reason, Violation};
use rstuf_tuf::{RoleName, TargetPath};

use crate::{
    effects::{Effect, Moment},
    signers::{Group, Objection},
};

pub use self::{action::Action, answer::Used};

/// The result of the coordinator's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was refused, or why the coordinator can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are not what is allowed.
    #[error("{}", violations::summary(violations))]
    Invalid {
        /// Every field at fault.
        violations: Vec<Violation>,
    },
    /// No ceremony was held yet.
    #[error("this repository had no ceremony yet: hold it with `rstuf ceremony`")]
    NoCeremony,
    /// The coordinator compares its journal with the signers.
    #[error("the coordinator is starting: try again in a moment")]
    Starting,
    /// Another ceremony was held, or is under way.
    #[error("this repository has another root already, {root}: a repository has one first root for ever")]
    OtherRoot {
        /// Digest of the root in use.
        root: String,
    },
    /// The ceremony was held with the same root, and not in the same way.
    #[error("the ceremony was held with this root and another `{field}`: it is held once, and what it set stays")]
    OtherCeremony {
        /// The field that differs.
        field: &'static str,
    },
    /// A request id was used with another body.
    #[error("request id `{request_id}` was used for another request ({used}): choose another id")]
    RequestIdUsed {
        /// The id.
        request_id: String,
        /// What for.
        used: Box<Used>,
    },
    /// A request id is that of an open import.
    #[error("request id `{request_id}` is that of open import {import}: commit or delete that, or choose another id")]
    RequestIdOpen {
        /// The id.
        request_id: String,
        /// The import.
        import: String,
    },
    /// Too much waits, or is held.
    #[error("{what}: at most {max} at a time, try again later")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// Too much is set aside.
    #[error(
        "{what}: at most {max} at a time; retry or cancel them first: `rstuf task list --state set_aside` shows them"
    )]
    SetAsideFull {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// There is no space to journal a request.
    #[error("the coordinator's disk is full: nothing was taken in, try again when there is space")]
    DiskFull,
    /// No such task.
    #[error("no task {id}: finished ones are kept for 30 days, a million of them at most")]
    NoTask {
        /// As asked for.
        id: String,
    },
    /// No such import is open.
    #[error(
        "no open import {id}: one lapses when nothing was appended for a day, or nothing at \
         all for 10 minutes; create it again"
    )]
    NoImport {
        /// As asked for.
        id: String,
    },
    /// The import is a task already.
    #[error("import {id} is committed: follow its task, or cancel that")]
    ImportCommitted {
        /// The import, and its task.
        id: String,
    },
    /// An import goes on at another place.
    #[error("import {id} goes on at offset {next_offset}, not {offset}: append from there")]
    ImportOffset {
        /// The import.
        id: String,
        /// As asked for.
        offset: u64,
        /// Where it goes on.
        next_offset: u64,
    },
    /// No request was made with this id.
    #[error("no request with the id `{request_id}`: ids are kept for 30 days, those of a million tasks at most")]
    NoRequest {
        /// As asked for.
        request_id: String,
    },
    /// The task is in a batch, and can't be cancelled any more.
    #[error("task {id} is being signed and published, which nothing takes back: wait for its end")]
    TaskRunning {
        /// The task.
        id: String,
    },
    /// The task has ended.
    #[error("task {id} is finished: ask for it, or for its results")]
    TaskFinished {
        /// The task.
        id: String,
    },
    /// The task is not set aside.
    #[error("task {id} is not set aside: there is nothing to retry")]
    TaskNotSetAside {
        /// The task.
        id: String,
    },
    /// The task has no results yet.
    #[error("task {id} is not done: its results are known when it is; one that failed or was cancelled has none")]
    NoResults {
        /// The task.
        id: String,
    },
    /// No such artifact in the newest publication.
    #[error("no artifact `{path}` in the newest publication")]
    NoArtifact {
        /// As asked for.
        path: TargetPath,
    },
    /// The index of artifacts is being read after a start.
    #[error("the list of artifacts is being rebuilt after a start: try again in a moment")]
    IndexNotReady,
    /// The list of artifacts can't be kept, or read.
    #[error("the list of artifacts in the state directory can't be read or written: {0}")]
    Index(#[source] io::Error),
    /// The coordinator is stopping.
    #[error("the coordinator is stopping: try again in a moment")]
    Stopping,
    /// A signer does not answer.
    #[error("the {group} signer at {endpoint} does not answer: {message}")]
    SignerUnreachable {
        /// Its group.
        group: Group,
        /// Where it was sought.
        endpoint: String,
        /// What the connection said.
        message: String,
    },
    /// A signer refused.
    #[error("the {group} signer refused: {message}")]
    SignerRefused {
        /// Its group.
        group: Group,
        /// What it objects to.
        objection: Objection,
        /// Its reason, for programs.
        reason: Option<Reason>,
        /// Its reason, for people.
        message: String,
    },
    /// A signer answered something that it should not have.
    #[error("the {group} signer's answer for {role} is wrong: {message}")]
    SignerAnswer {
        /// Its group.
        group: Group,
        /// The document's role.
        role: String,
        /// What is wrong.
        message: String,
    },
    /// A signer has signed in an earlier life of this repository.
    #[error(
        "the {group} signer has signed for this repository before, so journal and published files were lost: \
         put the published files back from a mirror, and start the coordinator again"
    )]
    SignedBefore {
        /// Its group.
        group: Group,
    },
    /// A signer is pinned to another root.
    #[error(
        "the {group} signer belongs to repository {found}, not {wanted}: check its address and its state directory"
    )]
    OtherRepository {
        /// Its group.
        group: Group,
        /// Its repository, hex.
        found: String,
        /// The coordinator's, hex.
        wanted: String,
    },
    /// Another coordinator publishes there.
    #[error("{dir} is published to by another coordinator ({holder}): one repository has one; stop one of them")]
    PublishedInUse {
        /// The directory of published files.
        dir: PathBuf,
        /// Which process, and its state directory.
        holder: String,
    },
    /// A published file has other bytes than what is to be published under its name.
    #[error(
        "{path} exists with other content: another coordinator writes there, or the journal was lost; stop and compare"
    )]
    PublishConflict {
        /// The file.
        path: PathBuf,
    },
    /// A document that the journal names is not there, or not as it was.
    #[error("published document {name} is missing or damaged: restore it from a mirror or a backup")]
    DocumentLost {
        /// Its file name.
        name: String,
    },
    /// The disk of published files failed.
    #[error("can't {action} {path}: {source}")]
    Publish {
        /// What was tried.
        action: Action,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The journal failed or refused.
    #[error(transparent)]
    Store(#[from] rstuf_store::Error),
    /// A row of the journal can't be read.
    #[error("row {key} of the journal can't be read: {message}")]
    Journal {
        /// The row's key.
        key: String,
        /// Why.
        message: String,
    },
    /// Versions of a role ran out.
    #[error("role {role} has reached the highest version: no client takes another")]
    VersionsExhausted {
        /// The role.
        role: RoleName,
    },
    /// A test stopped the coordinator dead.
    #[error("stopped by a test {} {}", moment.as_str(), effect.as_str())]
    Stopped {
        /// Which side of it.
        moment: Moment,
        /// The effect.
        effect: Effect,
    },
}

impl Error {
    /// One field at fault.
    pub fn field(field: &str, description: impl Into<String>) -> Self {
        Self::Invalid { violations: vec![Violation { field: field.to_owned(), description: description.into() }] }
    }

    /// What happened on the disk of published files.
    pub(crate) fn publish(action: Action, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Publish { action, path: path.to_owned(), source }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid { violations: vec![violation] }
    }
}

impl From<Vec<Violation>> for Error {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid { violations }
    }
}
