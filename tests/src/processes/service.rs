//! Which services there are.

/// One of the five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `rstuf-targets`
    Targets,
    /// `rstuf-snapshot`
    Snapshot,
    /// `rstuf-timestamp`
    Timestamp,
    /// `rstuf-coordinator`
    Coordinator,
    /// `rstuf-mirror`
    Mirror,
}

impl Service {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 5] = [Self::Targets, Self::Snapshot, Self::Timestamp, Self::Coordinator, Self::Mirror];
    /// Those that hold a key.
    pub const SIGNERS: [Self; 3] = [Self::Targets, Self::Snapshot, Self::Timestamp];

    /// Its name, as in `rstuf-NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
            Self::Coordinator => "coordinator",
            Self::Mirror => "mirror",
        }
    }
}
