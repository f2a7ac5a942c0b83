//! What is measured.

/// So many artifacts are large.
pub(crate) const MILLION: u64 = 1_000_000;
/// What one import may have to carry.
const FIVE_MILLION: u64 = 5 * MILLION;

/// Tasks that finish, and files that are superseded, before submissions of one artifact are measured again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct History {
    pub tasks: u64,
    pub files: u64,
}

/// One repository, and what is done with it.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub bins: u32,
    pub artifacts: u64,
    /// Submissions of one artifact each.
    pub singles: u64,
    /// Requests of many artifacts each.
    pub large: u64,
    pub throughput: bool,
    pub history: Option<History>,
    /// Whether it is set beside bare python-tuf.
    pub beside_python: bool,
    /// Whether artifacts are listed.
    pub reads: bool,
    /// Whether it takes so long that it is run only where its whole name is given.
    on_request: bool,
}

/// All of them.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let (million, singles, large) = if quick { (50_000, 20, 1) } else { (MILLION, 200, 5) };
    let history = if quick { History { tasks: 6_400, files: 512 } } else { History { tasks: 100_000, files: 10_000 } };
    let scenario = |bins, artifacts| Scenario {
        bins,
        artifacts,
        singles,
        large: 0,
        throughput: false,
        history: None,
        beside_python: false,
        reads: false,
        on_request: false,
    };
    vec![
        Scenario { large, throughput: true, ..scenario(256, 10_000) },
        scenario(16_384, 10_000),
        Scenario { history: Some(history), ..scenario(256, 10_000) },
        Scenario { beside_python: true, reads: true, ..scenario(256, million) },
        scenario(16_384, million),
        Scenario { singles: 1, on_request: true, ..scenario(4_096, FIVE_MILLION) },
    ]
}

impl Scenario {
    /// For people, and for `--only`.
    pub(crate) fn name(&self) -> String {
        let history = self.history.map_or("", |_| "-history");
        format!("{}-bins-{}-artifacts{history}", self.bins, self.artifacts)
    }

    /// Whether it is run where this is asked for: a part of its name, or everything.
    pub(crate) fn is_wanted(&self, only: Option<&str>) -> bool {
        let name = self.name();
        if self.on_request { only == Some(name.as_str()) } else { only.is_none_or(|only| name.contains(only)) }
    }
}
