//! What a batch is: which submissions and which versions of which roles, what its changes are, and how it ends.

pub(crate) mod changes;
pub(crate) mod finish;
mod partition;
pub(crate) mod plan;
pub(crate) mod withdrawal;
