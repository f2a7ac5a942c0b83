//! Bytes into messages. What comes in is counted first: decoded, a message of many tiny elements takes up to 85 times
//! its bytes.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes};
use prost::{Message, Name};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

use crate::{
    ErrorKind, Kinded, Violation,
    count::{self, Fault},
};

/// How requests of a type `U` and answers of a type `T` pass, and the other way round at the caller's.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Counting<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Counting(PhantomData)
    }
}

/// Decodes what is not too much.
#[derive(Debug)]
pub(crate) struct Counting<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for Counting<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode(buffer.copy_to_bytes(buffer.remaining())).map(Some)
    }
}

/// INTERNAL says that it is no message: whose fault that is, is for the server or the caller to say.
fn decode<U: Message + Name + Default>(bytes: Bytes) -> Result<U, Status> {
    match count::check(&U::full_name(), &bytes) {
        Ok(()) => U::decode(bytes).map_err(|error| Status::internal(error.to_string())),
        Err(Fault::TooMany(violation)) if U::NAME.ends_with("Request") => Err(crate::status(TooMany([violation]))),
        Err(fault) => Err(Status::internal(format!("no {}: {fault}", U::NAME))),
    }
}

/// A request with more elements than are allowed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0[0])]
struct TooMany([Violation; 1]);

impl Kinded for TooMany {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    fn violations(&self) -> &[Violation] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tonic::Code;

    use super::*;
    use crate::{
        proto::{artifacts::v1 as artifacts, signer::v1 as signer, tasks::v1 as tasks},
        violations,
    };

    fn repeated(bytes: &[u8], times: usize) -> Bytes {
        bytes.repeat(times).into()
    }

    /// Behind a length, as field `number`.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        [&field, bytes].concat()
    }

    fn refused<U: Message + Name + Default + std::fmt::Debug>(bytes: impl Into<Bytes>) -> String {
        let status = decode::<U>(bytes.into()).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        violations(&status)[0].to_string()
    }

    #[test]
    fn too_many_elements_are_refused_by_name_and_limit() {
        let changes = refused::<artifacts::SubmitArtifactsRequest>(repeated(&[0x12, 0], 2 << 20));
        assert_eq!(changes, "changes: more than 10000 in one message, allowed are at most 10000");
        let roles = refused::<signer::GetDocumentsRequest>(repeated(&[0x0a, 0], 8 << 20));
        assert!(roles.starts_with("roles: more than 1024 "), "{roles}");
        let roots = refused::<signer::SignTimestampRequest>(field(1, &repeated(&[0x22, 0], 1_025)));
        assert!(roots.starts_with("header.roots: more than 1024 "), "{roots}");
        // In one artifact, and in so many that each has few.
        let artifact = field(1, &repeated(&[0x1a, 0], 30_001));
        let hashes = refused::<artifacts::SubmitArtifactsRequest>(field(2, &artifact));
        assert!(hashes.starts_with("changes.add.hashes: more than 30000 "), "{hashes}");
        let split = field(2, &field(1, &repeated(&[0x1a, 0], 16))).repeat(2_000);
        assert!(refused::<artifacts::SubmitArtifactsRequest>(split).starts_with("changes.add.hashes: "));
        // One that is merged from many parts has them all.
        let parts = field(2, &field(4, &[]).repeat(5_001)).repeat(2);
        let merged = refused::<signer::SignTargetsRequest>(parts);
        assert!(merged.starts_with("role_changes.changes: more than 10000 "), "{merged}");
    }

    /// An answer with too much is the other side's defect, not the caller's mistake.
    #[test]
    fn an_answer_with_too_many_is_no_answer() {
        let status = decode::<tasks::ListTasksResponse>(repeated(&[0x0a, 0], 10_001)).unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status}");
        let outcomes = field(3, &repeated(&[1], 100_001));
        assert_eq!(decode::<signer::SignTargetsResponse>(outcomes.into()).unwrap_err().code(), Code::Internal);
    }

    #[test]
    fn what_is_allowed_passes_whatever_its_text_looks_like() {
        let text = "\x12\0".repeat(500);
        let kind = Some(artifacts::change::Kind::RemovePath(text.clone()));
        let changes = vec![artifacts::Change { kind }; 2_000];
        let request = artifacts::SubmitArtifactsRequest { request_id: text, changes, hold: true };
        assert_eq!(decode::<artifacts::SubmitArtifactsRequest>(request.encode_to_vec().into()).unwrap(), request);
        let full = decode::<artifacts::SubmitArtifactsRequest>(repeated(&[0x12, 0], 10_000)).unwrap();
        assert_eq!(full.changes.len(), 10_000);
        // A field that a later program knows.
        let later = [field(15, b"later"), vec![0x70, 0xff, 0x01]].concat();
        assert!(decode::<tasks::CancelTaskRequest>(later.into()).is_ok());
    }

    #[test]
    fn what_is_no_message_is_not_decoded() {
        let overlong = [0x80; 11];
        for bytes in [&[0x12, 5, 0][..], &[0], &[0x13, 0x14], &[0x17], &[0x80], &overlong, &[0x0d, 1], &[0x09, 1]] {
            let status = decode::<artifacts::SubmitArtifactsRequest>(Bytes::copy_from_slice(bytes)).unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{bytes:?}");
        }
    }
}
