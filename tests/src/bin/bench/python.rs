//! Bare python-tuf beside the services: a script that makes a repository as large, in one process, with nothing durable
//! and nothing checked.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Context as _;
use rstuf_tests::python::{environment, run};

use crate::{
    report::{Peer, PeerFigure, Report},
    scenarios::Scenario,
};

/// How often the script adds one artifact more: the median counts.
const ROUNDS: u32 = 21;

/// What the script says, in seconds.
#[derive(Debug, serde::Deserialize)]
struct Measured {
    all: f64,
    one: f64,
}

/// Sets what was measured of a scenario beside the script: all its artifacts at once, and one artifact more. Without
/// Python, ours stands alone, said with a word.
pub(crate) async fn beside(
    scenario: &Scenario,
    all: Duration,
    one: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    let measured = match environment().await? {
        Some(python) => Some(measure(scenario, &python)?),
        None => None,
    };
    let mut add = |name: String, count: u64, ours: Duration, theirs: Option<f64>| {
        let rate = |seconds: f64| count as f64 / seconds;
        let peer = theirs.map(|seconds| Peer { name: "python-tuf", rate: rate(seconds), aim: None });
        let rate = rate(ours.as_secs_f64());
        report.beside(&scenario.name(), PeerFigure { name, rate, unit: "artifacts/s", peer });
    };
    let count = scenario.artifacts;
    add(format!("{count} artifacts at once"), count, all, measured.as_ref().map(|it| it.all));
    add("one artifact after the other".to_owned(), 1, one, measured.as_ref().map(|it| it.one));
    Ok(())
}

fn measure(scenario: &Scenario, python: &Path) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/bare.py");
    let numbers = [scenario.artifacts, scenario.bins.into(), ROUNDS.into()].map(|number| number.to_string());
    let said = run(Command::new(python).arg(script).arg(folder.path()).args(numbers))?;
    serde_json::from_str(&said).context("the script says something else")
}
