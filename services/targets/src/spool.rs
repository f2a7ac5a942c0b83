//! The changes of a request while it is worked on: in memory while they are few, in an unnamed file beyond that. An
//! import of millions of changes is one request, and must not become millions of objects.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use rstuf_api::signing;
use rstuf_signing::{Error, Result};
use rstuf_store::Scratch;
use rstuf_tuf::{Change, TargetPath};

/// Bytes of changes kept in memory, of each of the requests that are gathered at once.
const MEMORY_BYTES_MAX: usize = 2 << 20;
/// Each change is preceded by its submission and its length, four bytes each.
const FRAME_BYTES: usize = 8;

/// A change, and the submission that it came with.
#[derive(Debug)]
pub(crate) struct SubmittedChange {
    pub submission: u32,
    pub change: Change,
}

/// Takes changes in.
#[derive(Debug)]
pub(crate) struct Spooling {
    dir: PathBuf,
    bytes_max: u64,
    file: Option<Scratch>,
    /// What comes after what is in the file.
    memory: Vec<u8>,
}

impl Spooling {
    /// Nothing yet; `dir` is where the file goes if there is need of one. It takes at most `bytes_max`, frames
    /// included.
    pub(crate) fn new(dir: &Path, bytes_max: u64) -> Self {
        Self { dir: dir.to_owned(), bytes_max, file: None, memory: Vec::new() }
    }

    /// Where the next change will stand.
    pub(crate) fn position(&self) -> u64 {
        self.file.as_ref().map_or(0, Scratch::bytes) + self.memory.len() as u64
    }

    /// Takes an encoded change.
    ///
    /// # Errors
    /// Where there are too many, or no space is left for them beside the floor of the state.
    pub(crate) fn push(&mut self, submission: u32, encoded: &[u8]) -> Result<()> {
        let frame_bytes = FRAME_BYTES + encoded.len();
        if self.position() + frame_bytes as u64 > self.bytes_max {
            let description = format!("more than {} bytes of changes: make two requests of it", self.bytes_max);
            return Err(Error::invalid("role_changes", description));
        }
        // Messages are bounded far below 4 GiB.
        let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        if !self.memory.is_empty() && self.memory.len() + frame_bytes > MEMORY_BYTES_MAX {
            self.flush()?;
        }
        for bytes in [&submission.to_be_bytes()[..], &length.to_be_bytes()[..], encoded] {
            self.memory.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Scratch::create(&self.dir, self.memory.len() as u64)?),
        };
        file.append(&self.memory)?;
        self.memory.clear();
        Ok(())
    }

    /// Everything taken in.
    pub(crate) fn finish(self) -> Spool {
        Spool { file: self.file, memory: self.memory }
    }
}

/// Changes to be read back, by several threads at once.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Option<Scratch>,
    memory: Vec<u8>,
}

impl Spool {
    /// The changes that stand in a place.
    pub(crate) fn changes(&self, place: &Range<u64>) -> Result<Vec<SubmittedChange>> {
        let mut changes = Vec::new();
        self.visit(place, |submission, encoded| {
            changes.push(SubmittedChange { submission, change: signing::decode_change(encoded)? });
            Some(())
        })?;
        Ok(changes)
    }

    /// The paths of the changes that stand in a place, which are much less work.
    pub(crate) fn paths(&self, place: &Range<u64>) -> Result<Vec<TargetPath>> {
        let mut paths = Vec::new();
        self.visit(place, |_, encoded| {
            paths.push(signing::path_of_change(encoded)?);
            Some(())
        })?;
        Ok(paths)
    }

    /// What was checked on its way in reads back as it was.
    fn visit(&self, place: &Range<u64>, mut visit: impl FnMut(u32, &[u8]) -> Option<()>) -> Result<()> {
        let bytes = self.read(place)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let visited = next(&mut rest).and_then(|(submission, encoded)| visit(submission, encoded));
            visited.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        }
        Ok(())
    }

    fn read(&self, place: &Range<u64>) -> Result<Vec<u8>> {
        let size = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
        let in_file = self.file.as_ref().map_or(0, Scratch::bytes);
        // It may begin in the file and end in memory.
        let (from_file, from_memory) = (place.start..place.end.min(in_file), place.start.max(in_file)..place.end);
        let mut bytes = vec![0; size(from_file.end.saturating_sub(from_file.start))?];
        if let Some(file) = self.file.as_ref().filter(|_| !bytes.is_empty()) {
            file.read(from_file.start, &mut bytes)?;
        }
        if !from_memory.is_empty() {
            let memory = size(from_memory.start - in_file)?..size(from_memory.end - in_file)?;
            bytes.extend_from_slice(self.memory.get(memory).ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?);
        }
        Ok(bytes)
    }
}

/// The next change, encoded, and its submission.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let submission = u32::from_be_bytes(*rest.split_off(..4)?.as_array()?);
    let length = u32::from_be_bytes(*rest.split_off(..4)?.as_array()?);
    Some((submission, rest.split_off(..usize::try_from(length).ok()?)?))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rstuf_api::proto::artifacts::v1 as proto;

    use super::*;

    /// The same comes back, by place, from memory as from a file.
    #[test]
    fn reads_back_what_was_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        for count in [10, 400_000] {
            let mut spooling = Spooling::new(dir.path(), u64::MAX);
            let path = |number: u32| TargetPath::try_from(format!("some/where/artifact-{number}").as_str()).unwrap();
            let mut starts = Vec::new();
            for number in 0..count {
                starts.push(spooling.position());
                let change = Change::Remove { path: path(number) };
                spooling.push(number / 3, &proto::Change::from(&change).encode_to_vec()).unwrap();
            }
            starts.push(spooling.position());
            let spool = spooling.finish();
            assert_eq!(spool.file.is_some(), count > 10);
            for first in (0..count - 3).step_by(count as usize / 5) {
                let changes = spool.changes(&(starts[first as usize]..starts[first as usize + 3])).unwrap();
                for (change, number) in changes.iter().zip(first..first + 3) {
                    assert_eq!((change.submission, change.change.path()), (number / 3, &path(number)));
                }
                assert_eq!(changes.len(), 3);
            }
            let paths = spool.paths(&(0..starts[count as usize])).unwrap();
            assert!(paths.into_iter().eq((0..count).map(path)));
            let all = spool.changes(&(0..starts[count as usize])).unwrap();
            assert!(all.iter().map(|it| it.change.path()).eq((0..count).map(path).collect::<Vec<_>>().iter()));
        }
    }

    /// Its bytes are bounded, in memory as in a file, and what is refused takes no place.
    #[test]
    fn takes_no_more_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let frame = MEMORY_BYTES_MAX as u64 / 4;
        let encoded = vec![0; MEMORY_BYTES_MAX / 4 - FRAME_BYTES];
        for count in [3, 30] {
            let mut spooling = Spooling::new(dir.path(), count * frame + FRAME_BYTES as u64);
            for _ in 0..count {
                spooling.push(1, &encoded).unwrap();
            }
            let refused = spooling.push(1, b"1").unwrap_err().to_string();
            assert!(refused.contains("bytes of changes: make two requests of it"), "{refused}");
            spooling.push(1, b"").unwrap();
            assert!(spooling.push(1, b"").is_err());
            assert_eq!(spooling.finish().file.is_some(), count == 30);
        }
    }
}
