//! Asking for targets documents.

use bytes::Bytes;
use prost::{Message as _, encoding};
use rstuf_api::{
    limits,
    proto::{
        artifacts::v1 as artifacts,
        signer::v1::{
            self as proto, sign_targets_request::Part, targets_signer_service_client::TargetsSignerServiceClient,
        },
    },
};
use rstuf_runtime::CALL_MAX;
#[cfg(test)]
use rstuf_tuf::RoleName;
use rstuf_tuf::{Change, Outcome, Sha256};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Streaming;
use uuid::Uuid;

use super::{Group, Signers, messages, timed, wrong};
use crate::{
    Result,
    journal::{rows::RolePlan, unusable_batch},
};

/// Bytes of changes in one message of a request; a signer refuses messages that are larger than a document.
const CHANGES_BYTES_PER_MESSAGE: usize = 4 * 1024 * 1024;

/// One message of a request: first the header, then every role in one or more messages.
pub(crate) struct TargetsMessage {
    message: proto::SignTargetsRequest,
    /// Of the changes in it.
    bytes: usize,
}

impl TargetsMessage {
    /// What all the others belong to.
    pub(crate) fn header(repository: &Sha256, batch: Uuid) -> Self {
        Self::of(Part::Header(messages::header(repository, batch)), 0)
    }

    fn of(part: Part, bytes: usize) -> Self {
        Self { message: proto::SignTargetsRequest { part: Some(part) }, bytes }
    }

    /// Bytes of the changes in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is the first one of a role.
    pub(crate) fn begins_role(&self) -> bool {
        matches!(&self.message.part, Some(Part::RoleChanges(changes)) if changes.revision.is_some())
    }

    /// Its role and the changes that it has of it, each with the index of its submission; none of a header.
    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    pub(crate) fn read(self) -> Option<(RoleName, Vec<(u32, Change)>)> {
        assert!(self.message.encoded_len() < limits::DOCUMENT_MESSAGE_BYTES_MAX / 2);
        let Part::RoleChanges(message) = self.message.part? else { return None };
        let change = |submitted: proto::SubmittedChange| {
            (submitted.submission, rstuf_api::signing::decode_change(&submitted.change.unwrap()).unwrap())
        };
        Some((message.role.parse().unwrap(), message.changes.into_iter().map(change).collect()))
    }

    /// Gives what is asked for one role to `send`, with its changes, as [`submitted`] wrote them; each message is of
    /// bounded number and bytes. Answers whether `send` took them all.
    ///
    /// # Errors
    /// Those of `changes`.
    pub(crate) fn role(
        plan: &RolePlan,
        changes: impl Iterator<Item = Result<Bytes>>,
        mut send: impl FnMut(Self) -> bool,
    ) -> Result<bool> {
        let role = plan.role.to_string();
        let mut send = |message, bytes| send(Self::of(Part::RoleChanges(message), bytes));
        let (revision, renew) = (Some((&plan.revision).into()), plan.renew);
        let mut current = proto::RoleChanges { role: role.clone(), revision, renew, changes: Vec::new() };
        let mut bytes = 0;
        for run in changes {
            let mut run = run?;
            while !run.is_empty() {
                let before = run.len();
                let change = proto::SubmittedChange::decode_length_delimited(&mut run);
                let change = change.map_err(|error| unusable_batch(&format!("its changes of {role}: {error}")))?;
                let size = before - run.len();
                let full = current.changes.len() == limits::CHANGES_PER_SIGNING_MESSAGE_MAX
                    || (bytes + size > CHANGES_BYTES_PER_MESSAGE && !current.changes.is_empty());
                if full {
                    // Only the first has the revision.
                    let next = proto::RoleChanges { role: role.clone(), ..Default::default() };
                    if !send(std::mem::replace(&mut current, next), bytes) {
                        return Ok(false);
                    }
                    bytes = 0;
                }
                bytes += size;
                current.changes.push(change);
            }
        }
        Ok(send(current, bytes))
    }
}

/// Bytes that [`submitted`] adds to a change at most: two tags, a number and two lengths.
pub(crate) const SUBMITTED_FRAME_BYTES_MAX: u64 = 17;

/// Writes the encoded change of a submission, by its index in the batch, as [`TargetsMessage::role`] reads it: a
/// `SubmittedChange` with its length before it. The change itself is not looked at.
pub(crate) fn submitted(submission: usize, change: &[u8], into: &mut Vec<u8>) {
    let submission = u32::try_from(submission).unwrap_or(u32::MAX);
    let length = change.len() as u64;
    let of_number = if submission == 0 { 0 } else { encoding::uint32::encoded_len(1, &submission) };
    encoding::encode_varint((of_number + 1 + encoding::encoded_len_varint(length) + change.len()) as u64, into);
    if submission != 0 {
        encoding::uint32::encode(1, &submission, into);
    }
    encoding::encode_key(2, encoding::WireType::LengthDelimited, into);
    encoding::encode_varint(length, into);
    into.extend_from_slice(change);
}

/// As [`submitted`], of a change that is not encoded yet.
pub(crate) fn submitted_change(submission: usize, change: &Change, into: &mut Vec<u8>) {
    submitted(submission, &artifacts::Change::from(change).encode_to_vec(), into);
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
        let answer = client.sign_targets(timed(messages.map(|message| message.message), CALL_MAX)).await;
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
        let part = loop {
            let next = self.stream.message().await;
            match next.map_err(|status| self.signers.failed(Group::Targets, status))? {
                // That it works is all that counts of it.
                Some(part) if part.progress.is_some() => {}
                Some(part) => break part,
                None => {
                    self.signers.content(Group::Targets);
                    return Ok(None);
                }
            }
        };
        let outcomes: Option<Vec<Outcome>> = part.outcomes().map(|outcome| outcome.checked()).collect();
        let outcomes = outcomes.ok_or_else(|| wrong(Group::Targets, &part.role, "no outcome"))?;
        let document = part.document.map(|document| document.envelope);
        Ok(Some(RoleAnswer { role: part.role, outcomes, document }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn role_messages(changes: &[proto::SubmittedChange]) -> Vec<proto::RoleChanges> {
        let written = |changes: &[proto::SubmittedChange]| {
            let mut run = Vec::new();
            for change in changes {
                let before = run.len();
                let encoded = change.change.as_ref().unwrap();
                submitted(change.submission as usize, encoded, &mut run);
                assert_eq!(run[before..], change.encode_length_delimited_to_vec());
                assert!((run.len() - before - encoded.len()) as u64 <= SUBMITTED_FRAME_BYTES_MAX);
            }
            Ok(run.into())
        };
        let mut messages = Vec::new();
        let all = TargetsMessage::role(&RolePlan::first("bins-0"), changes.chunks(777).map(written), |message| {
            let Some(Part::RoleChanges(message)) = message.message.part else { panic!("no changes") };
            messages.push(message);
            true
        });
        assert!(all.unwrap());
        messages
    }

    /// Messages stay below what a signer takes, however large the changes, and none is left out or out of order.
    #[test]
    fn messages_are_bounded_and_whole() {
        let change = |submission: u32, bytes: usize| {
            let kind = rstuf_api::proto::artifacts::v1::change::Kind::RemovePath("p".repeat(bytes));
            let change = rstuf_api::proto::artifacts::v1::Change { kind: Some(kind) };
            proto::SubmittedChange { submission, change: Some(change.encode_to_vec().into()) }
        };
        let small = limits::CHANGES_PER_SIGNING_MESSAGE_MAX as u32 * 2 + 1;
        let mut changes: Vec<_> = (0..small).map(|number| change(number, 10)).collect();
        changes.extend((small..small + 2_000).map(|number| change(number, 17_000)));
        let messages = role_messages(&changes);
        assert!(messages.iter().all(|message| message.encoded_len() < limits::DOCUMENT_MESSAGE_BYTES_MAX / 2));
        assert!(messages.iter().all(|message| message.changes.len() <= limits::CHANGES_PER_SIGNING_MESSAGE_MAX));
        assert!(messages.iter().skip(1).all(|message| message.revision.is_none() && !message.changes.is_empty()));
        assert!(messages[0].revision.is_some());
        assert_eq!(messages.into_iter().flat_map(|message| message.changes).collect::<Vec<_>>(), changes);
        assert_eq!(role_messages(&[]).len(), 1);
    }
}
