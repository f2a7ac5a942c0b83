//! Documents as they came, and those that wait for the top-level targets document of their request.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_signing::{Error, Result};
use rstuf_tuf::{RoleName, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of documents that may wait, of all requests together: anybody can send some that wait in vain.
const BYTES_MAX: usize = 64 << 20;

/// A document as it came.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub role: RoleName,
    pub bytes: Bytes,
    /// Its digest, once that stands in the list of documents.
    pub noted: Option<Sha256>,
}

impl Arrived {
    /// Copies the document: its bytes would keep all of the message that they came in, whatever else is in that.
    pub(crate) fn new(role: RoleName, message: &Bytes) -> Self {
        Self { role, bytes: Bytes::copy_from_slice(message), noted: None }
    }
}

/// Where the documents of all requests wait. Cheap to clone; clones are one room.
#[derive(Debug, Clone)]
pub(crate) struct WaitingRoom(Arc<Semaphore>);

impl WaitingRoom {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX)))
    }

    /// For the documents of one request.
    pub(crate) fn enter(&self) -> Waiting {
        Waiting { room: self.clone(), documents: Vec::new() }
    }
}

/// The documents of one request that wait, each with what speaks against it so far.
#[derive(Debug)]
pub(crate) struct Waiting {
    room: WaitingRoom,
    documents: Vec<(Arrived, Error, OwnedSemaphorePermit)>,
}

impl Waiting {
    /// Lets a document wait.
    ///
    /// # Errors
    /// What speaks against it, where there is no room.
    pub(crate) fn add(&mut self, arrived: Arrived, error: Error) -> Result<()> {
        let bytes = u32::try_from(arrived.bytes.len()).unwrap_or(u32::MAX);
        match Arc::clone(&self.room.0).try_acquire_many_owned(bytes) {
            Ok(room) => {
                self.documents.push((arrived, error, room));
                Ok(())
            }
            Err(_) => Err(error),
        }
    }

    /// All that waited, in the order in which they came.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Arrived, Error)> + use<> {
        std::mem::take(&mut self.documents).into_iter().map(|(arrived, error, _)| (arrived, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(bytes: usize) -> Arrived {
        let role: RoleName = "bins-0".parse().unwrap();
        Arrived::new(role, &vec![0; bytes].into())
    }

    fn refused() -> Error {
        Error::NotPinned
    }

    #[test]
    fn all_requests_wait_in_one_room() {
        let room = WaitingRoom::new();
        let (mut first, mut second) = (room.enter(), room.enter());
        first.add(arrived(BYTES_MAX - 10), refused()).unwrap();
        assert!(second.add(arrived(11), refused()).is_err());
        second.add(arrived(10), refused()).unwrap();
        drop(first);
        second.add(arrived(BYTES_MAX - 10), refused()).unwrap();
        assert_eq!(second.take().count(), 2);
        room.enter().add(arrived(BYTES_MAX), refused()).unwrap();
    }

    #[test]
    fn a_document_keeps_nothing_of_its_message() {
        let message = Bytes::from(vec![7; 1 << 20]);
        let arrived = Arrived::new("bins-0".parse().unwrap(), &message.slice(..1));
        assert!(message.is_unique(), "nobody else keeps it");
        assert_eq!(&*arrived.bytes, [7]);
    }
}
