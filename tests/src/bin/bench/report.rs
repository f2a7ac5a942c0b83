//! One table for people, the same as JSON for programs.

use std::{collections::BTreeMap, fmt, fs, path::Path, time::Duration};

use tabled::{builder::Builder, settings::Style};

use crate::{
    floor::{Disk, DocumentCost, Floor},
    system::Memory,
};

const MEGABYTE: f64 = 1e6;

/// Everything that was measured.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Report {
    disk: Disk,
    documents: BTreeMap<String, DocumentCost>,
    rows: Vec<Row>,
    beside: Vec<PeerRow>,
    memory: Vec<MemoryRow>,
}

/// One figure beside its floor.
#[derive(Debug, serde::Serialize)]
struct Row {
    scenario: String,
    figure: String,
    seconds: f64,
    /// In the same time.
    artifacts: u64,
    aim_seconds: Option<f64>,
    floor: Option<Floor>,
    /// To the floor.
    ratio: Option<f64>,
    /// Seconds of each effect for one publication, by the coordinator's own measure.
    effects: BTreeMap<String, f64>,
}

/// One rate beside that of another program, in the same run.
#[derive(Debug, serde::Serialize)]
struct PeerRow {
    scenario: String,
    #[serde(flatten)]
    figure: PeerFigure,
    /// Of the rate to the peer's.
    ratio: Option<f64>,
}

#[derive(Debug, serde::Serialize)]
struct MemoryRow {
    scenario: String,
    service: &'static str,
    #[serde(flatten)]
    memory: Memory,
    aim_bytes: Option<u64>,
}

/// A figure as a scenario measured it.
pub(crate) struct Figure {
    /// What it is.
    pub name: String,
    /// How long it took.
    pub time: Duration,
    /// How many artifacts became visible in that time; 0 where that is not the question.
    pub artifacts: u64,
    /// How long it may take.
    pub aim: Option<Duration>,
    /// How long it must take at least, where that is known.
    pub floor: Option<Floor>,
    /// Seconds of each effect for one publication.
    pub effects: BTreeMap<String, f64>,
}

/// A rate as a scenario measured it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct PeerFigure {
    /// What it is.
    pub name: String,
    /// How many in a second.
    pub rate: f64,
    /// Of what.
    pub unit: &'static str,
    /// The other program, where it is installed.
    pub peer: Option<Peer>,
}

/// What another program does.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Its rate.
    pub rate: f64,
    /// What the ratio of ours to it should be at least, where that is asked for.
    pub aim: Option<f64>,
}

impl Report {
    /// Nothing but what the disk costs.
    pub(crate) fn new(disk: Disk) -> Self {
        Self { disk, documents: BTreeMap::new(), rows: Vec::new(), beside: Vec::new(), memory: Vec::new() }
    }

    /// What the disk costs.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Adds what a kind of document costs.
    pub(crate) fn document(&mut self, scenario: &str, name: &str, cost: DocumentCost) {
        self.documents.insert(format!("{scenario} {name}"), cost);
    }

    /// Adds a figure.
    pub(crate) fn figure(&mut self, scenario: &str, figure: Figure) {
        let Figure { name, time, artifacts, aim, floor, effects } = figure;
        self.rows.push(Row {
            scenario: scenario.to_owned(),
            figure: name,
            seconds: time.as_secs_f64(),
            artifacts,
            aim_seconds: aim.map(|aim| aim.as_secs_f64()),
            floor,
            ratio: floor.map(|floor| time.as_secs_f64() / floor.total().as_secs_f64()),
            effects,
        });
    }

    /// Adds a rate beside that of another program.
    pub(crate) fn beside(&mut self, scenario: &str, figure: PeerFigure) {
        let ratio = figure.peer.as_ref().map(|peer| figure.rate / peer.rate);
        let peer = figure.peer.as_ref().map(|it| format!(", {} {}", it.name, number(it.rate))).unwrap_or_default();
        eprintln!("  {}: {} {}{peer}", figure.name, number(figure.rate), figure.unit);
        self.beside.push(PeerRow { scenario: scenario.to_owned(), figure, ratio });
    }

    /// Adds the memory of every service.
    pub(crate) fn memory(&mut self, scenario: &str, memory: BTreeMap<&'static str, Memory>, aim_bytes: Option<u64>) {
        let row = |(service, memory)| MemoryRow { scenario: scenario.to_owned(), service, memory, aim_bytes };
        self.memory.extend(memory.into_iter().map(row));
    }

    /// Writes everything as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Builder::new();
        table.push_record(["scenario", "figure", "measured", "aim", "floor", "of it disk", "ratio"]);
        for row in &self.rows {
            let measured = match row.artifacts {
                0 => seconds(row.seconds),
                artifacts => format!("{}, {:.0}/s", seconds(row.seconds), artifacts as f64 / row.seconds),
            };
            table.push_record([
                row.scenario.clone(),
                row.figure.clone(),
                measured,
                row.aim_seconds.map(|aim| format!("< {}", seconds(aim))).unwrap_or_default(),
                row.floor.map(|floor| seconds(floor.total().as_secs_f64())).unwrap_or_default(),
                row.floor.map(|floor| seconds(floor.disk.0.as_secs_f64())).unwrap_or_default(),
                row.ratio.map(|ratio| format!("{ratio:.1}")).unwrap_or_default(),
            ]);
        }
        for PeerRow { scenario, figure, ratio } in &self.beside {
            let PeerFigure { name, rate, unit, peer } = figure;
            table.push_record([
                scenario.clone(),
                name.clone(),
                format!("{} {unit}", number(*rate)),
                peer.as_ref().and_then(|it| Some(format!("> {} x {}", it.aim?, it.name))).unwrap_or_default(),
                peer.as_ref().map(|it| format!("{} {} {unit}", it.name, number(it.rate))).unwrap_or_default(),
                String::new(),
                ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            ]);
        }
        for row in &self.memory {
            let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / MEGABYTE);
            table.push_record([
                row.scenario.clone(),
                format!("memory of {}", row.service),
                format!("{}, peak {}", megabytes(row.memory.resident_bytes), megabytes(row.memory.peak_bytes)),
                row.aim_bytes.map(|aim| format!("< {}", megabytes(aim))).unwrap_or_default(),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
        let (commit, file) = (self.disk.commit.0.as_secs_f64(), self.disk.file.0.as_secs_f64());
        writeln!(formatter, "{}", table.build().with(Style::markdown()))?;
        write!(formatter, "a commit costs {}, a file {}", seconds(commit), seconds(file))
    }
}

fn number(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.2} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}
