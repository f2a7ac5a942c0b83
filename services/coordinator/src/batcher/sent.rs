//! A signing request on its way to the signer.

use rstuf_runtime::liveness::beat;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    signers::TargetsMessage,
    tasks::{Progress, Tasks},
};

/// How often watchers are told.
const SENT_TOLD_MAX: u32 = 64;
/// Messages that go together at most: each time, a thread is woken.
const CHUNK_MESSAGES: usize = 256;
/// No more go together once they have so many bytes of changes.
const CHUNK_BYTES: usize = 256 * 1024;

/// Messages that go together.
pub(super) type Chunk = Vec<TargetsMessage>;

/// Sends a request in chunks, and tells how much of it went before each goes: nothing that is told of the answer is
/// overwritten.
pub(super) struct Sent {
    /// Where chunks go.
    sender: mpsc::Sender<Chunk>,
    /// Who tells.
    told: Tasks,
    /// Whose watchers are told.
    tasks: Vec<Uuid>,
    /// How far it is.
    progress: Progress,
    chunk: Chunk,
    chunk_bytes: usize,
}

impl Sent {
    /// Nothing went yet.
    pub(super) fn new(sender: mpsc::Sender<Chunk>, told: Tasks, tasks: Vec<Uuid>, progress: Progress) -> Self {
        Self { sender, told, tasks, progress, chunk: Chunk::new(), chunk_bytes: 0 }
    }

    /// Takes the next message; answers false where nobody listens any more. Blocks.
    pub(super) fn push(&mut self, message: TargetsMessage) -> bool {
        beat();
        self.count(&message);
        self.chunk_bytes += message.bytes();
        self.chunk.push(message);
        let is_full = self.chunk.len() >= CHUNK_MESSAGES || self.chunk_bytes >= CHUNK_BYTES;
        !is_full || self.flush()
    }

    /// Sends what is left. Blocks.
    pub(super) fn flush(&mut self) -> bool {
        self.chunk_bytes = 0;
        self.sender.blocking_send(std::mem::take(&mut self.chunk)).is_ok()
    }

    fn count(&mut self, message: &TargetsMessage) {
        if message.begins_role() {
            let Progress { roles_sent, roles_total, .. } = &mut self.progress;
            *roles_sent += 1;
            if *roles_sent == *roles_total || roles_sent.is_multiple_of(roles_total.div_ceil(SENT_TOLD_MAX)) {
                self.told.progress(&self.tasks, self.progress);
            }
        }
    }
}
