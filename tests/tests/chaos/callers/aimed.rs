//! Requests that stand a chance: within the rules, as far as a caller knows how things are.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use rstuf_api::{
    convert, limits,
    proto::{
        artifacts::v1::{
            AppendImportRequest, Change, CommitImportRequest, CreateImportRequest, DeleteImportRequest,
            GetArtifactRequest, GetImportRequest, Import, ImportArtifactsRequest, SubmitArtifactsRequest,
            get_import_request,
        },
        metadata::v1::Document,
        repository::v1::{HoldCeremonyRequest, Lifetimes},
        signer::v1::{
            EvidenceEnd, GetDocumentsRequest, ListRoleStatesResponse, LoadDocumentsRequest, PinRequest, Revision,
            RoleChanges, SignSnapshotRequest, SignTargetsRequest, SignTimestampRequest, SigningHeader, SnapshotHeader,
            SubmittedChange, sign_snapshot_request::Part as SnapshotPart, sign_targets_request::Part as TargetsPart,
        },
        tasks::v1::{
            CancelTaskRequest, GetTaskRequest, ListTaskChangesRequest, ListTaskResultsRequest, RetryTaskRequest,
            TaskState, WatchTaskRequest,
        },
    },
};
use rstuf_runtime::Clock;
use rstuf_tests::{
    client::{addition, removal},
    processes::Service,
};
use rstuf_tuf::{Layout, TargetPath};
use sha2::Digest as _;

use super::{
    calls::Method,
    known::Known,
    messages::{path, sha256},
};

const DAY: u64 = 24 * 3_600;
/// Not finished, and not about to be.
const OPEN: [TaskState; 1] = [TaskState::Held];

/// Whoever aims.
pub(crate) struct Aim<'a> {
    pub(crate) known: &'a Known,
    pub(crate) layout: Layout,
    pub(crate) random: &'a mut StdRng,
}

impl Aim<'_> {
    /// The messages of a call; none where any will do.
    pub(crate) fn at(&mut self, method: &Method) -> Option<Vec<Bytes>> {
        let known = self.known;
        let one = match method.descriptor.name() {
            "Pin" => bytes(&PinRequest { root: known.root.clone(), targets: known.targets.clone() }),
            "GetDocuments" => bytes(&GetDocumentsRequest { roles: vec![self.state(method.at)?.role] }),
            "LoadDocuments" => bytes(&LoadDocumentsRequest { document: Some(self.evidence(method.at)?) }),
            "SignTargets" => return self.sign_targets(),
            "SignSnapshot" => return self.sign_snapshot(),
            "SignTimestamp" => self.sign_timestamp()?,
            "HoldCeremony" => self.ceremony(),
            "SubmitArtifacts" => {
                let changes = self.changes();
                bytes(&SubmitArtifactsRequest { changes, hold: self.random.random(), ..Default::default() })
            }
            "ImportArtifacts" => return Some((0..self.random.random_range(1..4)).map(|_| self.import()).collect()),
            "CreateImport" => bytes(&CreateImportRequest { hold: self.random.random(), ..Default::default() }),
            "AppendImport" => {
                let import = self.import_of()?;
                let (id, offset) = (import.id.clone(), import.next_offset);
                bytes(&AppendImportRequest { id, offset, changes: self.changes() })
            }
            "GetImport" => {
                let key = get_import_request::Key::Id(self.import_of()?.id.clone());
                bytes(&GetImportRequest { key: Some(key) })
            }
            "CommitImport" => bytes(&CommitImportRequest { id: self.import_of()?.id.clone(), offset: 0 }),
            "DeleteImport" => bytes(&DeleteImportRequest { id: known.imports.choose(self.random)?.id.clone() }),
            "GetArtifact" => {
                bytes(&GetArtifactRequest { path: ["honest/0", &path(self.random)].choose(self.random)?.to_string() })
            }
            "GetTask" => bytes(&GetTaskRequest::by_id(known.task(&[], self.random))),
            "ListTaskResults" => {
                let id = known.task(&[TaskState::Done], self.random);
                bytes(&ListTaskResultsRequest { id, page_size: 2, ..Default::default() })
            }
            "ListTaskChanges" => {
                let id = known.task(&OPEN, self.random);
                bytes(&ListTaskChangesRequest { id, page_size: 2, ..Default::default() })
            }
            "CancelTask" => bytes(&CancelTaskRequest { id: known.task(&OPEN, self.random) }),
            "RetryTask" => bytes(&RetryTaskRequest { id: known.task(&[], self.random) }),
            "WatchTask" => bytes(&WatchTaskRequest { id: known.task(&[], self.random) }),
            _ => return None,
        };
        Some(vec![one])
    }

    fn header(&mut self) -> SigningHeader {
        SigningHeader {
            format: limits::SIGNING_FORMAT,
            repository_id: self.known.repository.clone(),
            batch_id: format!("caller-{}", self.random.random::<u64>()),
            roots: Vec::new(),
        }
    }

    fn state(&mut self, at: Service) -> Option<ListRoleStatesResponse> {
        let states: Vec<_> = self.known.states.get(&at)?.values().collect();
        states.choose(self.random).copied().cloned()
    }

    /// A document of a role that is signed there.
    fn known_of(&mut self, at: Service) -> Option<Document> {
        let role = self.state(at)?.role;
        let documents: Vec<_> = self.known.documents.iter().filter(|document| document.role == role).collect();
        documents.choose(self.random).copied().cloned()
    }

    /// What was signed there last; sometimes another, which is refused for one reason or another.
    fn evidence(&mut self, at: Service) -> Option<Document> {
        let newest: Vec<_> = self.known.newest.iter().filter(|((by, _), _)| *by == at).collect();
        let newest = newest.choose(self.random).map(|(_, document)| (*document).clone());
        match self.random.random_range(0..10) {
            0 => self.known_of(at),
            // Bins share a key.
            1 | 2 => Some(Document { role: self.state(at)?.role, ..newest? }),
            _ => newest,
        }
    }

    /// Mostly one that is still open.
    fn import_of(&mut self) -> Option<&Import> {
        let imports = &self.known.imports;
        if self.random.random_bool(0.8) { imports.last() } else { imports.choose(self.random) }
    }

    /// The next version, or as far above as is allowed.
    pub(crate) fn revision(&mut self, state: &ListRoleStatesResponse) -> Revision {
        let highest = state.base.as_ref().map_or(0, |base| base.version).max(state.watermark);
        let rise = *[1, 1, 3, 16, 17].choose(self.random).unwrap_or(&1);
        revision(state, highest.saturating_add(rise))
    }

    fn changes(&mut self) -> Vec<Change> {
        let mut paths: Vec<_> = (0..self.random.random_range(1..4)).map(|_| path(self.random)).collect();
        paths.sort();
        paths.dedup();
        paths.iter().map(|path| self.change(path)).collect()
    }

    fn change(&mut self, path: &str) -> Change {
        if self.random.random_bool(0.7) { addition(path, &self.random.random::<[u8; 4]>()) } else { removal(path) }
    }

    fn import(&mut self) -> Bytes {
        bytes(&ImportArtifactsRequest { changes: self.changes(), ..Default::default() })
    }

    fn sign_targets(&mut self) -> Option<Vec<Bytes>> {
        let path = path(self.random);
        let role = self.layout.role_for(&TargetPath::try_from(path.as_str()).ok()?).to_string();
        let state = self.known.states.get(&Service::Targets)?.get(&role)?.clone();
        let change = SubmittedChange { submission: 0, change: Some(bytes(&self.change(&path))) };
        // As many as a message may have, of which all but one change nothing.
        let count = if self.random.random_ratio(1, 50) { limits::CHANGES_PER_SIGNING_MESSAGE_MAX } else { 1 };
        let (revision, renew) = (Some(self.revision(&state)), self.random.random());
        let changes = RoleChanges { role, revision, renew, changes: vec![change; count] };
        let parts = [TargetsPart::Header(self.header()), TargetsPart::RoleChanges(changes)];
        Some(parts.map(|part| bytes(&SignTargetsRequest { part: Some(part) })).into())
    }

    fn sign_snapshot(&mut self) -> Option<Vec<Bytes>> {
        let state = self.known.states.get(&Service::Snapshot)?.get("snapshot")?.clone();
        let header = SnapshotHeader { header: Some(self.header()), revision: Some(self.revision(&state)) };
        let (mut parts, mut list) = (vec![SnapshotPart::Header(header)], sha2::Sha256::new());
        for _ in 0..self.random.random_range(0..3) {
            let Some(document) = self.evidence(Service::Targets) else { continue };
            list.update(sha256(&document.envelope));
            parts.push(SnapshotPart::Document(document));
        }
        let documents_sha256 = Bytes::copy_from_slice(&list.finalize());
        parts.push(SnapshotPart::End(EvidenceEnd { documents_sha256 }));
        Some(parts.into_iter().map(|part| bytes(&SignSnapshotRequest { part: Some(part) })).collect())
    }

    fn sign_timestamp(&mut self) -> Option<Bytes> {
        let state = self.known.states.get(&Service::Timestamp)?.get("timestamp")?.clone();
        let snapshot = Some(self.evidence(Service::Snapshot)?);
        let revision = Some(self.revision(&state));
        Some(bytes(&SignTimestampRequest { header: Some(self.header()), revision, snapshot }))
    }

    /// The one that was held, with its lifetimes.
    fn ceremony(&mut self) -> Bytes {
        let days = |days: u64| Some(convert::duration_message(Duration::from_secs(days * DAY)));
        let lifetimes = Lifetimes { bins: days(30), snapshot: days(7), timestamp: days(1), targets: days(365) };
        bytes(&HoldCeremonyRequest {
            root: self.known.root.clone(),
            targets: self.known.targets.clone(),
            layout: Some(self.layout.into()),
            lifetimes: Some(lifetimes),
        })
    }
}

/// A revision of a role in this state, for an hour.
pub(crate) fn revision(state: &ListRoleStatesResponse, version: u32) -> Revision {
    let expires = Clock::system().now().checked_add(Duration::from_secs(3_600)).unwrap_or_default();
    let expires = Some(convert::timestamp_message(rstuf_tuf::whole_seconds(expires)));
    Revision { base: state.base.clone(), version, expires }
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
