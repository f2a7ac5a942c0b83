//! What a process does for its own safety before it touches a key.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off (limit 0, and not dumpable, which also keeps other processes of the same user from reading
/// the memory), so that a crash never writes key bytes to a disk; and raises the limit of open files to what the
/// system allows, since the usual 1,024 is less than the connections that a server accepts.
///
/// # Errors
/// Where the system refuses either of the first two; the third is best effort.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    Ok(())
}
