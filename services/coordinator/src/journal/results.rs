//! The results of finished tasks, in parts as the changes were. A part is an encoded `ListTaskResultsResponse`.

use bytes::Bytes;
use prost::{Message as _, encoding};
use rstuf_api::proto::tasks::v1 as proto;
use rstuf_tuf::{Outcome, TargetPath};
use uuid::Uuid;

use super::{
    Entry, Journal,
    keys::{result_key, unreadable},
    repeated::Repeated,
};
use crate::Result;

/// Number of the field that a part consists of.
const RESULTS: u8 = 1;

impl Journal {
    /// The results of one part of a finished submission, from this one on; none if it is forgotten.
    pub(crate) fn results(
        &self,
        task: Uuid,
        part: u32,
        first: usize,
    ) -> Result<impl Iterator<Item = Result<(TargetPath, Outcome)>> + use<>> {
        let key = result_key(task, part);
        let bytes = match self.remembered(key.as_bytes())? {
            Some(bytes) => bytes,
            // Just forgotten.
            None if self.task(task)?.is_none() => Bytes::new(),
            None => return Err(unreadable(key.as_bytes(), "missing")),
        };
        let refuse = move |message: &str| unreadable(result_key(task, part).as_bytes(), message);
        let checked = move |bytes: Result<_>| {
            let result = proto::ChangeResult::decode(bytes?).map_err(|error| refuse(&error.to_string()))?;
            let outcome = result.outcome().checked().ok_or_else(|| refuse("no outcome"))?;
            let path = result.path.as_str().try_into().map_err(|error: rstuf_tuf::Error| refuse(&error.to_string()))?;
            Ok((path, outcome))
        };
        Ok(Repeated::new(key, RESULTS, bytes).skip(first).map(checked))
    }
}

impl Entry {
    /// Results of a part.
    pub(crate) fn put_results<'a>(
        &mut self,
        task: Uuid,
        part: u32,
        results: impl Iterator<Item = (&'a TargetPath, Outcome)>,
    ) {
        let mut bytes = Vec::new();
        for (path, outcome) in results {
            let outcome = proto::Outcome::from(outcome).into();
            let result = proto::ChangeResult { path: path.to_string(), outcome };
            encoding::message::encode(RESULTS.into(), &result, &mut bytes);
        }
        self.put_bytes(result_key(task, part), bytes);
    }
}
