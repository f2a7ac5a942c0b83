//! Calls to the signers: the messages of `rstuf.signer.v1` are known here only.

mod group;
mod messages;
mod objection;
mod seen;
mod snapshot;
mod targets;
mod timestamp;

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use rstuf_api::{
    DocumentRef, Reason, convert, limits,
    proto::{
        metadata::v1::{Document, PublicKey},
        signer::v1::{self as proto, signer_service_client::SignerServiceClient},
    },
};
use rstuf_runtime::{CALL_MAX, Channel, Readiness};
use rstuf_tuf::{KeyId, RoleName};
use tonic::{Code, Request, Status};

use crate::{Error, Result};
pub use group::Group;
pub use objection::Objection;
use seen::Seen;
pub(crate) use snapshot::SnapshotMessage;
pub(crate) use targets::{
    RoleAnswer, SUBMITTED_FRAME_BYTES_MAX, TargetsAnswers, TargetsMessage, submitted, submitted_change,
};

/// How long a signer may take to say what it is: it does so at once, also while it signs.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long any other call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the signers are.
#[derive(Clone)]
pub(crate) struct Signers {
    endpoints: [Endpoint; 3],
    seen: Seen,
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
    /// In the order of [`Group::ALL`]. Those that do not answer are named in `readiness`.
    pub(crate) fn new(endpoints: [Endpoint; 3], readiness: Readiness) -> Self {
        Self { endpoints, seen: Seen::new(readiness) }
    }

    /// Where a signer is sought.
    pub(crate) fn uri(&self, group: Group) -> &str {
        &self.endpoint(group).uri
    }

    /// What a signer complained of at its last signing call.
    pub(crate) fn complaint(&self, group: Group) -> Option<String> {
        self.seen.complaint(group)
    }

    /// Says what keeps a signer from signing for the repository, for readiness; none where it can.
    pub(crate) fn judged(&self, group: Group, fault: Option<String>) {
        self.seen.judged(group, fault);
    }

    /// Whether a signer answered when it was asked last; none if it was not asked yet.
    pub(crate) fn is_reachable(&self, group: Group) -> Option<bool> {
        self.seen.is_reachable(group)
    }

    /// A signer's keys, and what it is pinned to.
    ///
    /// # Errors
    /// [`Error::SignerUnreachable`], [`Error::SignerRefused`].
    pub(crate) async fn describe(&self, group: Group) -> Result<Description> {
        let answer = self.common(group).describe_signer(timed(proto::DescribeSignerRequest {}, DESCRIBE_TIMEOUT)).await;
        // Whoever asks that sees the error; it is no complaint about work.
        let message = answer.map_err(|status| self.missed(group, &status))?.into_inner();
        self.seen.answered(group);
        let there = convert::signer_group("group", message.group);
        let there = there.map_err(|violation| wrong(group, group.as_str(), violation.to_string()))?;
        if there != group.role() {
            let other =
                format!("the {there} signer answers at {}: its address was given for another's", self.uri(group));
            return Err(wrong(group, group.as_str(), other));
        }
        let lifetime_max = convert::duration("lifetime_max", message.lifetime_max);
        Ok(Description {
            repository_id: Some(message.repository_id).filter(|id| !id.is_empty()),
            public_keys: message.public_keys,
            halted: Some(message.halted).filter(|evidence| !evidence.is_empty()),
            clock_refusal: Some(message.clock_refusal).filter(|refusal| !refusal.is_empty()),
            lifetime_max: lifetime_max.map_err(|violation| wrong(group, group.as_str(), violation.to_string()))?,
        })
    }

    /// As [`Signers::describe`], of all at once: one that hangs does not keep the others' answers back.
    pub(crate) async fn describe_all(&self) -> Vec<(Group, Result<Description>)> {
        join_all(Group::ALL.map(async |group| (group, self.describe(group).await))).await
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
    pub(crate) async fn role_states(&self, group: Group) -> Result<Vec<RoleState>> {
        let request = timed(proto::ListRoleStatesRequest {}, CALL_TIMEOUT);
        let read = async {
            let mut stream = self.common(group).list_role_states(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(state) = stream.message().await? {
                all.push(state);
            }
            Ok(all)
        };
        let states: Vec<proto::ListRoleStatesResponse> = read.await.map_err(|status| self.failed(group, status))?;
        let checked = |state: proto::ListRoleStatesResponse| {
            let role = state.role.parse();
            let role = role.map_err(|error: rstuf_tuf::Error| wrong(group, &state.role, error.to_string()))?;
            let base = state.base.and_then(|base| base.try_into().ok());
            Ok(RoleState { role, base, watermark: state.watermark })
        };
        states.into_iter().map(checked).collect()
    }

    /// The newest documents of roles, at most [`limits::ROLES_PER_CALL_MAX`] of them.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn documents(&self, group: Group, roles: &[RoleName]) -> Result<Vec<(RoleName, Bytes)>> {
        let roles = roles.iter().map(ToString::to_string).collect();
        let request = timed(proto::GetDocumentsRequest { roles }, CALL_MAX);
        let read = async {
            let mut stream = self.common(group).get_documents(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(message) = stream.message().await? {
                all.extend(message.document);
            }
            Ok(all)
        };
        let documents: Vec<Document> = read.await.map_err(|status| self.failed(group, status))?;
        let checked = |document: Document| {
            let role = document.role.parse();
            let role = role.map_err(|error: rstuf_tuf::Error| wrong(group, &document.role, error.to_string()))?;
            Ok((role, document.envelope))
        };
        documents.into_iter().map(checked).collect()
    }

    /// Hands a signer that is behind a published document.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn load(&self, group: Group, role: &RoleName, envelope: Bytes) -> Result<()> {
        let document = messages::document(role, envelope);
        let stream = tokio_stream::once(proto::LoadDocumentsRequest { document: Some(document) });
        let answer = self.common(group).load_documents(timed(stream, CALL_MAX)).await;
        answer.map(|_| ()).map_err(|status| self.failed(group, status))
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
        self.seen.content(group);
    }

    fn failed(&self, group: Group, status: Status) -> Error {
        let error = self.error(group, &status);
        self.seen.failed(group, &error);
        error
    }

    fn missed(&self, group: Group, status: &Status) -> Error {
        let error = self.error(group, status);
        self.seen.missed(group, &error);
        error
    }

    /// A status that leaves the outcome unknown, or nothing to be learnt, counts as unreachable: ask again.
    fn error(&self, group: Group, status: &Status) -> Error {
        let reason = Reason::of(status);
        match status.code() {
            // A limit with a reason is the signer's own, which did nothing; without one it is the transport's.
            Code::ResourceExhausted if reason.is_none() => self.unreachable(group, status),
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => {
                let objection = Objection::of(status.code(), reason.as_ref());
                Error::SignerRefused { group, objection, reason, message: status.message().to_owned() }
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => self.unreachable(group, status),
        }
    }

    fn unreachable(&self, group: Group, status: &Status) -> Error {
        let (endpoint, message) = (self.uri(group).to_owned(), status.message().to_owned());
        Error::SignerUnreachable { group, endpoint, message }
    }
}

/// What a signer says of itself.
pub(crate) struct Description {
    /// Digest of its repository's first root; none while it is not pinned.
    pub repository_id: Option<Bytes>,
    /// Its keys, for those who show them.
    pub public_keys: Vec<PublicKey>,
    /// It signs nothing that expires later than this from now.
    pub lifetime_max: Duration,
    /// What proved that its disk was restored; it signs nothing any more then.
    pub halted: Option<String>,
    /// Why it signs nothing because of its clock; none where it believes it.
    pub clock_refusal: Option<String>,
}

impl Description {
    /// Names of its keys.
    pub(crate) fn key_ids(&self) -> impl Iterator<Item = KeyId> {
        self.public_keys.iter().filter_map(|key| KeyId::try_from(&*key.key_id).ok())
    }
}

/// What a signer knows of one role that it signs.
pub(crate) struct RoleState {
    /// The role.
    pub role: RoleName,
    /// The highest threshold-signed document that it knows.
    pub base: Option<DocumentRef>,
    /// The highest version that its key signed; 0 for none.
    pub watermark: u32,
}

impl RoleState {
    /// The highest version that it has signed or seen; 0 for none.
    pub(crate) fn highest(&self) -> u32 {
        self.base.as_ref().map_or(0, |base| base.version.get()).max(self.watermark)
    }
}

/// An answer that can't be used.
pub(crate) fn wrong(group: Group, role: &str, message: impl Into<String>) -> Error {
    Error::SignerAnswer { group, role: role.to_owned(), message: message.into() }
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

#[cfg(test)]
mod tests;
