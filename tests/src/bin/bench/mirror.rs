//! The mirror alone, beside nginx on the same files.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use rstuf_tests::processes::{Processes, Service};
use rstuf_tuf::Sha256;

use crate::{
    load::{Answered, CONNECTIONS, Load},
    nginx::Nginx,
    report::{Peer, PeerFigure, Report},
    system,
};

/// For people, and for `--only`.
pub(crate) const NAME: &str = "mirror";

/// Sizes of a timestamp, of a snapshot of 256 bins, and of a large artifact.
const TIMESTAMP_BYTES: usize = 500;
const SNAPSHOT_BYTES: usize = 33_000;
const ARTIFACT_BYTES: usize = 100_000_000;

/// How long the load lasts on one server, and how often on each: in turns, so that both have the same machine.
#[derive(Debug, Clone, Copy)]
struct Turns {
    rounds: usize,
    time: Duration,
}

/// A file, where each of the two servers has it, and what share of nginx's rate is aimed at.
struct Served {
    name: &'static str,
    path: String,
    nginx_path: String,
    aim: f64,
    amount: fn(Answered) -> f64,
    unit: &'static str,
}

/// What one server did in all its turns.
#[derive(Default)]
struct Done {
    rates: Vec<f64>,
    amount: f64,
    cpu_seconds: f64,
}

impl Done {
    /// Puts the load on a server, a process with this id.
    async fn turn(&mut self, server: u32, load: Load, amount: fn(Answered) -> f64) -> anyhow::Result<()> {
        let before = system::cpu_seconds(server)?;
        let answered = load.run().await?;
        self.cpu_seconds += system::cpu_seconds(server)? - before;
        self.amount += amount(answered);
        self.rates.push(amount(answered) / answered.seconds);
        Ok(())
    }

    /// In a second, and in a second of the processors: the latter tells more on a machine that does other things.
    fn rates(mut self) -> [f64; 2] {
        self.rates.sort_by(f64::total_cmp);
        let median = self.rates.get(self.rates.len() / 2).copied();
        [median.unwrap_or_default(), self.amount / self.cpu_seconds]
    }
}

/// Runs it, and adds what it measured.
pub(crate) async fn run(folder: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let own = tempfile::Builder::new().prefix("mirror-").tempdir_in(folder)?.keep();
    let mut processes = Processes::new(&own, "flat").await?;
    let served = files(&own)?;
    processes.spawn(Service::Mirror)?;
    processes.ready(Service::Mirror).await?;
    let id = processes.id(Service::Mirror).context("the mirror has ended")?;
    let mirror: SocketAddr = processes.mirror_url().trim_start_matches("http://").parse()?;
    let nginx = Nginx::start(&own).await?;
    let turns = if quick {
        Turns { rounds: 1, time: Duration::from_millis(300) }
    } else {
        Turns { rounds: 7, time: Duration::from_secs(1) }
    };
    for file in served {
        let (mut ours, mut theirs) = (Done::default(), Done::default());
        for _ in 0..turns.rounds {
            let load = |address, path: &str| Load { address, path: path.to_owned(), time: turns.time };
            ours.turn(id, load(mirror, &file.path), file.amount).await?;
            if let Some(nginx) = &nginx {
                theirs.turn(nginx.id(), load(nginx.address, &file.nginx_path), file.amount).await?;
            }
        }
        let theirs = nginx.is_some().then(|| theirs.rates());
        for (index, (rate, of)) in ours.rates().into_iter().zip(["", ", by processor time"]).enumerate() {
            let peer = theirs.map(|rates| Peer { name: "nginx", rate: rates[index], aim: Some(file.aim) });
            let name = format!("{}, {CONNECTIONS} connections{of}", file.name);
            report.beside(NAME, PeerFigure { name, rate, unit: file.unit, peer });
        }
    }
    Ok(())
}

/// Writes what is served below `folder`. What they hold counts for nothing: a mirror checks no signatures.
fn files(folder: &Path) -> anyhow::Result<Vec<Served>> {
    let metadata = folder.join("published/metadata");
    fs::create_dir_all(&metadata)?;
    fs::write(metadata.join("timestamp.json"), vec![b'x'; TIMESTAMP_BYTES])?;
    fs::write(metadata.join("1.snapshot.json"), vec![b'x'; SNAPSHOT_BYTES])?;
    let artifact: Vec<u8> = (0..ARTIFACT_BYTES).map(|at| (at % 251) as u8).collect();
    let digest = Sha256::of(&artifact);
    fs::write(folder.join(format!("artifacts/{digest}")), artifact)?;
    let document = |name: &'static str, file: &str| {
        let path = format!("/metadata/{file}");
        Served { name, nginx_path: path.clone(), path, aim: 0.8, amount: |it| it.answers, unit: "answers/s" }
    };
    Ok(vec![
        document("timestamp.json of 500 bytes", "timestamp.json"),
        document("snapshot of 33 kB", "1.snapshot.json"),
        Served {
            name: "artifact of 100 MB",
            path: format!("/targets/{digest}.artifact"),
            nginx_path: format!("/artifacts/{digest}"),
            aim: 0.9,
            amount: |it| it.bytes / 1e6,
            unit: "MB/s",
        },
    ])
}
