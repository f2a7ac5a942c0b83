//! Asking for targets documents.

use bytes::Bytes;
use prost::Message as _;
use rstuf_api::{
    limits,
    proto::signer::v1::{
        self as proto, sign_targets_request::Part, targets_signer_service_client::TargetsSignerServiceClient,
    },
};
use rstuf_tuf::{Outcome, Sha256};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Streaming;
use uuid::Uuid;

use super::{Group, SIGN_TIMEOUT, Signers, messages, timed, wrong};
use crate::{
    Result,
    journal::{StoredChange, rows::RolePlan},
};

/// Bytes of changes in one message of a request; a signer refuses messages that are larger than a document.
const CHANGES_BYTES_PER_MESSAGE: usize = 4 * 1024 * 1024;

/// One message of a request: first the header, then every role in one or more messages.
pub(crate) struct TargetsMessage(proto::SignTargetsRequest);

impl TargetsMessage {
    /// What all the others belong to.
    pub(crate) fn header(repository: &Sha256, batch: Uuid) -> Self {
        Self(proto::SignTargetsRequest { part: Some(Part::Header(messages::header(repository, batch))) })
    }

    /// Whether it is the first one of a role.
    pub(crate) fn begins_role(&self) -> bool {
        matches!(&self.0.part, Some(Part::RoleChanges(changes)) if changes.revision.is_some())
    }

    /// What is asked for one role, with its changes and the index of the submission of each.
    pub(crate) fn role(plan: &RolePlan, changes: Vec<(usize, StoredChange)>) -> impl Iterator<Item = Self> {
        let change = |(index, change): (usize, StoredChange)| proto::SubmittedChange {
            submission: u32::try_from(index).unwrap_or(u32::MAX),
            change: Some(change.into_message()),
        };
        let messages = role_messages(plan, changes.into_iter().map(change).collect());
        messages.into_iter().map(|message| Self(proto::SignTargetsRequest { part: Some(Part::RoleChanges(message)) }))
    }
}

/// The messages for one role, each of bounded number and bytes; only the first has the revision.
fn role_messages(plan: &RolePlan, changes: Vec<proto::SubmittedChange>) -> Vec<proto::RoleChanges> {
    let mut current = proto::RoleChanges {
        role: plan.role.to_string(),
        revision: Some((&plan.revision).into()),
        renew: plan.renew,
        changes: Vec::new(),
    };
    let (mut complete, mut bytes) = (Vec::new(), 0);
    for change in changes {
        let size = change.encoded_len();
        let full = current.changes.len() == limits::CHANGES_PER_SIGNING_MESSAGE_MAX
            || (bytes + size > CHANGES_BYTES_PER_MESSAGE && !current.changes.is_empty());
        if full {
            let next =
                proto::RoleChanges { role: plan.role.to_string(), revision: None, renew: false, changes: Vec::new() };
            complete.push(std::mem::replace(&mut current, next));
            bytes = 0;
        }
        bytes += size;
        current.changes.push(change);
    }
    complete.push(current);
    complete
}

impl Signers {
    /// Asks for targets documents; the answers come as a stream.
    ///
    /// # Errors
    /// As [`Signers::describe`].
    pub(crate) async fn sign_targets(
        &self,
        messages: impl Stream<Item = TargetsMessage> + Send + 'static,
    ) -> Result<TargetsAnswers> {
        let channel = self.endpoint(Group::Targets).channel.clone();
        let mut client = TargetsSignerServiceClient::new(channel)
            .max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
        let answer = client.sign_targets(timed(messages.map(|message| message.0), SIGN_TIMEOUT)).await;
        let stream = answer.map_err(|status| self.failed(Group::Targets, status))?.into_inner();
        Ok(TargetsAnswers { signers: self.clone(), stream })
    }
}

/// What the targets signer answers, role by role.
pub(crate) struct TargetsAnswers {
    signers: Signers,
    stream: Streaming<proto::SignTargetsResponse>,
}

/// A part of the answer for one role.
pub(crate) struct RoleAnswer {
    /// The role, as the signer names it.
    pub role: String,
    /// How its next changes ended.
    pub outcomes: Vec<Outcome>,
    /// Its document, in one of its parts; none if no change had an effect.
    pub document: Option<Bytes>,
}

impl TargetsAnswers {
    /// The next part; none at the end.
    ///
    /// # Errors
    /// As [`Signers::describe`], and [`crate::Error::SignerAnswer`].
    pub(crate) async fn next(&mut self) -> Result<Option<RoleAnswer>> {
        let next = self.stream.message().await.map_err(|status| self.signers.failed(Group::Targets, status))?;
        let Some(part) = next else {
            self.signers.content(Group::Targets);
            return Ok(None);
        };
        let outcomes: Option<Vec<Outcome>> = part.outcomes().map(|outcome| outcome.checked()).collect();
        let outcomes = outcomes.ok_or_else(|| wrong(Group::Targets, &part.role, "no outcome"))?;
        let document = part.document.map(|document| document.envelope);
        Ok(Some(RoleAnswer { role: part.role, outcomes, document }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages stay below what a signer takes, however large the changes, and none is left out or out of order.
    #[test]
    fn messages_are_bounded_and_whole() {
        let change = |submission: u32, bytes: usize| {
            let kind = rstuf_api::proto::artifacts::v1::change::Kind::RemovePath("p".repeat(bytes));
            let change = rstuf_api::proto::artifacts::v1::Change { kind: Some(kind) };
            proto::SubmittedChange { submission, change: Some(change) }
        };
        let small = limits::CHANGES_PER_SIGNING_MESSAGE_MAX as u32 * 2 + 1;
        let mut changes: Vec<_> = (0..small).map(|number| change(number, 10)).collect();
        changes.extend((small..small + 2_000).map(|number| change(number, 17_000)));
        let messages = role_messages(&RolePlan::first("bins-0"), changes.clone());
        assert!(messages.iter().all(|message| message.encoded_len() < limits::DOCUMENT_MESSAGE_BYTES_MAX / 2));
        assert!(messages.iter().all(|message| message.changes.len() <= limits::CHANGES_PER_SIGNING_MESSAGE_MAX));
        assert!(messages.iter().skip(1).all(|message| message.revision.is_none() && !message.changes.is_empty()));
        assert!(messages[0].revision.is_some());
        assert_eq!(messages.into_iter().flat_map(|message| message.changes).collect::<Vec<_>>(), changes);
        assert_eq!(role_messages(&RolePlan::first("bins-0"), Vec::new()).len(), 1);
    }
}
