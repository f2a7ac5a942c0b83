//! The changes of submissions, in parts. A part is an encoded `SubmitArtifactsRequest`: changes are kept, and go on to
//! the targets signer, in the form in which they came.

use std::ops::Range;

use bytes::Bytes;
use prost::{Message as _, encoding};
use rstuf_api::{convert, digest, proto::artifacts::v1 as proto, signing};
use rstuf_tuf::{Change, Sha256, TargetPath};
use uuid::Uuid;

use super::{
    Entry, Journal,
    keys::{PARTS, part_key, unreadable},
    repeated::Repeated,
};
use crate::Result;

/// Number of the field that a part consists of.
const CHANGES: u8 = 2;

/// Changes as they are journalled.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedChanges {
    bytes: Vec<u8>,
    /// Where each change stands, without the tag and the length before it.
    places: Vec<Range<usize>>,
}

impl EncodedChanges {
    /// Encodes them.
    pub(crate) fn of(changes: &[Change]) -> Self {
        let mut encoded = Self { bytes: Vec::new(), places: Vec::with_capacity(changes.len()) };
        for change in changes {
            let message = proto::Change::from(change);
            encoding::message::encode(CHANGES.into(), &message, &mut encoded.bytes);
            encoded.places.push(encoded.bytes.len() - message.encoded_len()..encoded.bytes.len());
        }
        encoded
    }

    /// The digest of these changes after others whose digest is `before`: the same however they are cut into parts.
    pub(crate) fn digest(&self, before: Sha256) -> Sha256 {
        let changes = self.places.iter().map(|place| &self.bytes[place.clone()]);
        changes.fold(before, digest::followed_by)
    }

    /// Number of changes.
    pub(crate) fn count(&self) -> u64 {
        self.places.len() as u64
    }

    /// What is journalled.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds later ones: encoded changes one after the other are the encoded whole, however they were cut into messages.
    pub(crate) fn append(&mut self, later: &Self) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&later.bytes);
        self.places.extend(later.places.iter().map(|it| before + it.start..before + it.end));
    }
}

/// A change as it was journalled, to be shown without all checks again.
#[derive(Debug)]
pub(crate) struct StoredChange {
    path: TargetPath,
    message: proto::Change,
}

impl StoredChange {
    /// What it changes.
    pub(crate) fn path(&self) -> &TargetPath {
        &self.path
    }

    /// For the answer.
    pub(crate) fn into_message(self) -> proto::Change {
        self.message
    }
}

impl Journal {
    /// The changes of one part of a submission.
    pub(crate) fn changes(&self, task: Uuid, part: u32) -> Result<Vec<Change>> {
        let key = part_key(task, part);
        let change = |message: Result<proto::Change>| {
            convert::change(message?).map_err(|violation| unreadable(key.as_bytes(), &violation.to_string()))
        };
        self.part(task, part, 0)?.map(change).collect()
    }

    /// The changes of one part to be shown, from this one on: much less work than [`Journal::changes`]. None where the
    /// task has ended, maybe just now: its end deletes them.
    pub(crate) fn stored_changes(
        &self,
        task: Uuid,
        part: u32,
        first: usize,
    ) -> Result<Option<impl Iterator<Item = Result<StoredChange>> + use<>>> {
        let with_path = move |message: Result<proto::Change>| {
            let message = message?;
            let path = match &message.kind {
                Some(proto::change::Kind::Add(artifact)) => artifact.path.as_str(),
                Some(proto::change::Kind::RemovePath(path)) => path,
                None => "",
            };
            let path = path.try_into();
            let path = path
                .map_err(|error: rstuf_tuf::Error| unreadable(part_key(task, part).as_bytes(), &error.to_string()))?;
            Ok(StoredChange { path, message })
        };
        match self.part(task, part, first) {
            Err(_) if self.has_ended(task)? => Ok(None),
            stored => Ok(Some(stored?.map(with_path))),
        }
    }

    /// The changes of one part as they stand there, with the path of each: the least work.
    pub(crate) fn encoded_changes(
        &self,
        task: Uuid,
        part: u32,
    ) -> Result<impl Iterator<Item = Result<(TargetPath, Bytes)>> + use<>> {
        let with_path = move |encoded: Result<Bytes>| {
            let encoded = encoded?;
            let path = signing::path_of_change(&encoded);
            let path = path.ok_or_else(|| unreadable(part_key(task, part).as_bytes(), "a change without a path"))?;
            Ok((path, encoded))
        };
        Ok(self.entries(task, part)?.map(with_path))
    }

    /// Task and number of every part that there is.
    pub(crate) fn parts(&self) -> Result<Vec<(Uuid, u32)>> {
        let mut all = Vec::new();
        self.walk_keys(PARTS, |key| {
            let text = String::from_utf8_lossy(key);
            let mut fields = text.split('/').skip(1);
            let task = fields.next().and_then(|text| text.parse().ok());
            let part = fields.next().and_then(|text| u32::from_str_radix(text, 16).ok());
            all.push(task.zip(part).ok_or_else(|| unreadable(key, "not the key of a part"))?);
            Ok(())
        })?;
        Ok(all)
    }

    fn part(&self, task: Uuid, part: u32, first: usize) -> Result<impl Iterator<Item = Result<proto::Change>> + use<>> {
        let decode = move |bytes: Result<_>| {
            proto::Change::decode(bytes?)
                .map_err(|error| unreadable(part_key(task, part).as_bytes(), &error.to_string()))
        };
        Ok(self.entries(task, part)?.skip(first).map(decode))
    }

    fn entries(&self, task: Uuid, part: u32) -> Result<Repeated> {
        let key = part_key(task, part);
        let bytes = self.read_bytes(&key)?.ok_or_else(|| unreadable(key.as_bytes(), "missing"))?;
        Ok(Repeated::new(key, CHANGES, bytes))
    }
}

impl Entry {
    /// Changes of a submission.
    pub(crate) fn put_part(&mut self, task: Uuid, part: u32, changes: EncodedChanges) {
        self.put_bytes(part_key(task, part), changes.bytes);
    }

    /// Changes that nobody asks for any more.
    pub(crate) fn delete_part(&mut self, task: Uuid, part: u32) {
        self.delete(part_key(task, part));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use rstuf_runtime::Metrics;

    use super::*;
    use crate::journal::{
        rows::{TaskKind, TaskRow, TaskState},
        testing::Disk,
    };

    /// The store is ahead of what is in memory for the moment in which a task ends.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_just_ended_has_no_changes_and_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (_disk, store) = Disk::open(dir.path(), "part/");
        let journal = Journal::open(store.clone(), &Metrics::new("coordinator")).unwrap();
        let task = Uuid::from_u128(1);
        let removal = Change::Remove { path: "a".parse().unwrap() };
        let row = TaskRow { parts: 1, ..TaskRow::new(TaskKind::Submission, Timestamp::UNIX_EPOCH) };
        let mut entry = Entry::new();
        entry.put_task(task, &row);
        entry.put_part(task, 0, EncodedChanges::of(&[removal]));
        journal.commit(entry).await.unwrap();
        let count = |journal: &Journal| {
            let stored = tokio::task::block_in_place(|| journal.stored_changes(task, 0, 0));
            stored.map(|stored| stored.map(Iterator::count))
        };
        assert_eq!(count(&journal).unwrap(), Some(1));

        let mut end = Entry::new();
        end.put_task(task, &TaskRow { state: TaskState::Done, finished: Some(Timestamp::UNIX_EPOCH), ..row });
        end.delete_part(task, 0);
        store.commit(end.into_batch()).await.unwrap();
        assert!(journal.unfinished(task).is_some(), "nobody has told what is in memory");
        assert_eq!(count(&journal).unwrap(), None);
    }
}
