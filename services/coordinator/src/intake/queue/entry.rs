//! What stands in the queue, and how much that is.

use uuid::Uuid;

use crate::journal::rows::Standing;

/// How much there is of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Submissions and imports.
    pub submissions: usize,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of their parts.
    pub bytes: u64,
}

impl Load {
    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            submissions: self.submissions.saturating_add(other.submissions),
            changes: self.changes.saturating_add(other.changes),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            submissions: self.submissions.saturating_sub(other.submissions),
            changes: self.changes.saturating_sub(other.changes),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    pub(super) fn is_within(self, bound: Self) -> bool {
        self.submissions <= bound.submissions && self.changes <= bound.changes && self.bytes <= bound.bytes
    }
}

/// A path, for finding out whether two submissions share one: 16 bytes of its SHA-256.
pub(crate) type PathKey = [u8; 16];

/// A submission in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its number, which is its place in the order of acknowledgement.
    pub seq: u64,
    /// The task that follows it.
    pub task: Uuid,
    /// Changes in it.
    pub changes: u64,
    /// Bytes of its parts.
    pub bytes: u64,
    /// Whether it is held back until a publish is asked for.
    pub hold: bool,
    /// How it is asked for.
    pub standing: Standing,
    /// Its paths; may be empty for one that waits while nothing acknowledged before it is held, because then nobody
    /// asks.
    pub paths: Vec<PathKey>,
}

impl Entry {
    pub(super) fn load(&self) -> Load {
        Load { submissions: 1, changes: self.changes, bytes: self.bytes }
    }

    /// With how many submissions it is asked for at most, itself among them.
    pub(super) fn together_max(&self) -> usize {
        match self.standing {
            Standing::Trusted => usize::MAX,
            Standing::Suspect(together) => together,
            Standing::SetAside => 1,
        }
    }
}
