//! Calls to the signers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rstuf_api::{
    Reason, limits,
    proto::{
        metadata::v1::Document,
        signer::v1::{
            self as proto, signer_service_client::SignerServiceClient,
            snapshot_signer_service_client::SnapshotSignerServiceClient,
            targets_signer_service_client::TargetsSignerServiceClient,
            timestamp_signer_service_client::TimestampSignerServiceClient,
        },
    },
};
use rstuf_runtime::Channel;
use rstuf_tuf::{RoleName, Sha256, TopLevel};
use tokio_stream::Stream;
use tonic::{Code, Request, Status, Streaming};

use crate::{Error, Result};

/// How long a signing call may take. What takes longer is asked again: replays answer the same bytes.
const SIGN_TIMEOUT: Duration = Duration::from_secs(300);
/// How long any other call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The role groups, one signer each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Signs bins, or the top-level targets in the flat layout.
    Targets,
    /// Signs snapshots.
    Snapshot,
    /// Signs timestamps.
    Timestamp,
}

impl Group {
    /// All of them, in the order of a publication.
    pub(crate) const ALL: [Self; 3] = [Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The role that it signs, or whose delegated roles.
    pub(crate) fn role(self) -> TopLevel {
        match self {
            Self::Targets => TopLevel::Targets,
            Self::Snapshot => TopLevel::Snapshot,
            Self::Timestamp => TopLevel::Timestamp,
        }
    }

    /// Its name in messages.
    pub(crate) fn as_str(self) -> &'static str {
        self.role().as_str()
    }
}

/// Where the signers are.
#[derive(Clone)]
pub(crate) struct Signers {
    endpoints: [Endpoint; 3],
    /// What each complained of at its last call; for status.
    complaints: Arc<Mutex<BTreeMap<Group, String>>>,
}

/// One signer's address and connection.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// For people.
    pub uri: String,
    /// Connects when first used, and again.
    pub channel: Channel,
}

impl Signers {
    /// In the order of [`Group::ALL`].
    pub(crate) fn new(endpoints: [Endpoint; 3]) -> Self {
        Self { endpoints, complaints: Arc::default() }
    }

    /// Where a signer is sought.
    pub(crate) fn uri(&self, group: Group) -> &str {
        &self.endpoint(group).uri
    }

    /// What a signer complained of at its last signing call.
    pub(crate) fn complaint(&self, group: Group) -> Option<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// A signer's key, and what it is pinned to.
    ///
    /// # Errors
    /// [`Error::SignerUnreachable`], [`Error::SignerRefused`].
    pub(crate) async fn describe(&self, group: Group) -> Result<proto::DescribeSignerResponse> {
        let request = timed(proto::DescribeSignerRequest {}, CALL_TIMEOUT);
        let answer = self.common(group).describe_signer(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.failed(group, status))
    }

    /// Pins a signer.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn pin(&self, group: Group, root: Bytes, targets: Bytes) -> Result<()> {
        let request = timed(proto::PinRequest { root, targets }, CALL_TIMEOUT);
        self.common(group).pin(request).await.map(|_| ()).map_err(|status| self.failed(group, status))
    }

    /// State of each role that a signer signs.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn role_states(&self, group: Group) -> Result<Vec<proto::ListRoleStatesResponse>> {
        let request = timed(proto::ListRoleStatesRequest {}, CALL_TIMEOUT);
        let read = async {
            let mut stream = self.common(group).list_role_states(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(state) = stream.message().await? {
                all.push(state);
            }
            Ok(all)
        };
        read.await.map_err(|status| self.failed(group, status))
    }

    /// The newest documents of roles, at most [`limits::ROLES_PER_CALL_MAX`] of them.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn documents(&self, group: Group, roles: &[RoleName]) -> Result<Vec<Document>> {
        let roles = roles.iter().map(ToString::to_string).collect();
        let request = timed(proto::GetDocumentsRequest { roles }, SIGN_TIMEOUT);
        let read = async {
            let mut stream = self.common(group).get_documents(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(message) = stream.message().await? {
                all.extend(message.document);
            }
            Ok(all)
        };
        read.await.map_err(|status| self.failed(group, status))
    }

    /// Hands a signer that is behind a published document.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn load(&self, group: Group, document: Document) -> Result<()> {
        let stream = tokio_stream::once(proto::LoadDocumentsRequest { document: Some(document) });
        let answer = self.common(group).load_documents(timed(stream, SIGN_TIMEOUT)).await;
        answer.map(|_| ()).map_err(|status| self.failed(group, status))
    }

    /// Asks for targets documents; the answers come as a stream.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn sign_targets(
        &self,
        parts: impl Stream<Item = proto::SignTargetsRequest> + Send + 'static,
    ) -> Result<TargetsAnswers> {
        let channel = self.endpoint(Group::Targets).channel.clone();
        let mut client = TargetsSignerServiceClient::new(channel)
            .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
        let answer = client.sign_targets(timed(parts, SIGN_TIMEOUT)).await;
        let stream = answer.map_err(|status| self.failed(Group::Targets, status))?.into_inner();
        Ok(TargetsAnswers { signers: self.clone(), stream })
    }

    /// Asks for a snapshot.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn sign_snapshot(
        &self,
        parts: impl Stream<Item = proto::SignSnapshotRequest> + Send + 'static,
    ) -> Result<Bytes> {
        let mut client = SnapshotSignerServiceClient::new(self.endpoint(Group::Snapshot).channel.clone())
            .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
        let answer = client.sign_snapshot(timed(parts, SIGN_TIMEOUT)).await;
        self.document(Group::Snapshot, answer.map(|answer| answer.into_inner().document))
    }

    /// Asks for a timestamp.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn sign_timestamp(&self, request: proto::SignTimestampRequest) -> Result<Bytes> {
        let mut client = TimestampSignerServiceClient::new(self.endpoint(Group::Timestamp).channel.clone())
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
        let answer = client.sign_timestamp(timed(request, SIGN_TIMEOUT)).await;
        self.document(Group::Timestamp, answer.map(|answer| answer.into_inner().document))
    }

    fn document(&self, group: Group, answer: Result<Option<Document>, Status>) -> Result<Bytes> {
        let document = answer.map_err(|status| self.failed(group, status))?;
        self.content(group);
        let missing = || wrong(group, group.as_str(), "no document in the answer");
        document.map(|document| document.envelope).ok_or_else(missing)
    }

    fn endpoint(&self, group: Group) -> &Endpoint {
        let [targets, snapshot, timestamp] = &self.endpoints;
        match group {
            Group::Targets => targets,
            Group::Snapshot => snapshot,
            Group::Timestamp => timestamp,
        }
    }

    fn common(&self, group: Group) -> SignerServiceClient<Channel> {
        SignerServiceClient::new(self.endpoint(group).channel.clone())
            .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
    }

    fn content(&self, group: Group) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    fn failed(&self, group: Group, status: Status) -> Error {
        let error = self.error(group, &status);
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).insert(group, error.to_string());
        error
    }

    /// A status that leaves the outcome unknown, or nothing to be learnt, counts as unreachable: ask again.
    fn error(&self, group: Group, status: &Status) -> Error {
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Error::SignerRefused {
                group: group.as_str(),
                reason: Reason::of(status),
                message: status.message().to_owned(),
            },
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Error::SignerUnreachable {
                group: group.as_str(),
                endpoint: self.uri(group).to_owned(),
                message: status.message().to_owned(),
            },
        }
    }
}

/// What the targets signer answers, role by role.
pub(crate) struct TargetsAnswers {
    signers: Signers,
    stream: Streaming<proto::SignTargetsResponse>,
}

impl TargetsAnswers {
    /// The next part; none at the end.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn next(&mut self) -> Result<Option<proto::SignTargetsResponse>> {
        let next = self.stream.message().await.map_err(|status| self.signers.failed(Group::Targets, status))?;
        if next.is_none() {
            self.signers.content(Group::Targets);
        }
        Ok(next)
    }
}

/// An answer that can't be used.
pub(crate) fn wrong(group: Group, role: &str, message: impl Into<String>) -> Error {
    Error::SignerAnswer { group: group.as_str(), role: role.to_owned(), message: message.into() }
}

/// What every signing request says first.
pub(crate) fn header(repository_id: &Sha256, batch_id: uuid::Uuid) -> proto::SigningHeader {
    proto::SigningHeader {
        format: limits::SIGNING_FORMAT,
        repository_id: Bytes::copy_from_slice(repository_id.as_bytes()),
        batch_id: batch_id.to_string(),
        roots: Vec::new(),
    }
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}
