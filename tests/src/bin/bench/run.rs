//! What is done with one repository, and measured: each scenario has a fresh system.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rstuf_tuf::{Layout, RoleName, Snapshot};
use tokio::task::JoinSet;

use crate::{
    client::{Client, absence, artifact},
    floor::{self, DocumentCost, Publication},
    python, reads,
    report::{Figure, Report},
    scenarios::{History, MILLION, Scenario},
    system::{Effects, System},
};

/// Changes in one large request.
const LARGE: u64 = 10_000;
const CLIENTS: u64 = 64;
const SUBMISSIONS_PER_CLIENT: u64 = 100;
/// Memory that a service may take.
const MEMORY_AIM: u64 = 150_000_000;
/// Submissions before the first that is measured.
const WARM_UP: u64 = 5;

/// Runs a scenario, and adds what it measured.
pub(crate) async fn run(scenario: &Scenario, folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let layout: Layout = format!("succinct:{}", scenario.bins).parse()?;
    let mut system = System::start(folder, layout).await?;
    let client = Client::new(&system)?;
    let bootstrapped = system.bootstrap(&client).await?;
    Run { scenario, system: &system, client, report }.all(bootstrapped).await
}

struct Run<'a> {
    scenario: &'a Scenario,
    system: &'a System,
    client: Client,
    report: &'a mut Report,
}

/// Where a repository stands between two measurements.
struct Mark {
    publications: u64,
    snapshot: Snapshot,
    effects: Effects,
}

impl Run<'_> {
    async fn all(mut self, bootstrapped: Duration) -> anyhow::Result<()> {
        let bins = usize::try_from(self.scenario.bins)?;
        let floor = self.publication(bins, 0).await?.ceremony_floor(self.report.disk())?;
        let aim = (self.scenario.bins == 16_384).then_some(Duration::from_secs(6));
        self.figure("bootstrap to visible", bootstrapped, 0, aim, floor, BTreeMap::new());

        let count = self.scenario.artifacts;
        let mark = self.mark().await?;
        let begun = Instant::now();
        self.client.import(0..count).await?;
        self.visible(&mark).await?;
        let time = begun.elapsed();
        let publication = self.publication(self.bins_since(&mark).await?, 4 + u32::try_from(count / LARGE)?).await?;
        let floor = publication.floor(self.report.disk())?;
        let effects = self.effects_since(&mark).await?;
        self.figure(&format!("import of {count} artifacts"), time, count, None, floor, effects);
        self.client.verify(self.system, &artifact(count - 1, 0)).await?;

        let each = WARM_UP + self.scenario.singles;
        let before = self.singles(count..count + each, "").await?;
        if self.scenario.beside_python {
            python::beside(self.scenario, time, before, self.report).await?;
        }
        if self.scenario.reads {
            reads::run(self.scenario, &self.client, self.report).await?;
        }
        if let Some(History { tasks, files }) = self.scenario.history {
            let times =
                |after: Duration| eprintln!("  {:.2} times as long", after.as_secs_f64() / before.as_secs_f64());
            self.finish_tasks(tasks).await?;
            times(self.singles(count + each..count + 2 * each, &format!(", after {tasks} tasks")).await?);
            self.supersede_files(files).await?;
            times(self.singles(count + 2 * each..count + 3 * each, &format!(", and {files} superseded files")).await?);
        }
        for round in 1..=self.scenario.large {
            self.large(round).await?;
        }
        if self.scenario.throughput {
            self.throughput(2 * count).await?;
        }
        let aim = (count >= MILLION).then_some(MEMORY_AIM);
        self.report.memory(&self.scenario.name(), self.system.memory()?, aim);
        Ok(())
    }

    /// One artifact after the other, each when the last is visible. Answers the median.
    async fn singles(&mut self, numbers: Range<u64>, when: &str) -> anyhow::Result<Duration> {
        let mut times = Vec::new();
        let mut version = self.client.wait_visible(1).await?;
        let measured = numbers.start + WARM_UP;
        let mut mark = self.mark().await?;
        for number in numbers.clone() {
            if number == measured {
                mark = self.mark().await?;
            }
            let change = vec![artifact(number, 0)];
            let begun = Instant::now();
            let task = self.client.submit(change).await?;
            self.client.wait(task).await?;
            version = self.client.wait_visible(version + 1).await?;
            if number >= measured {
                times.push(begun.elapsed());
            }
        }
        self.client.verify(self.system, &artifact(numbers.end - 1, 0)).await?;
        times.sort_unstable();
        let floor = self.publication(1, 0).await?.floor(self.report.disk())?;
        let aim = match (self.scenario.bins, self.scenario.artifacts) {
            (256, 10_000) => Some(Duration::from_millis(50)),
            (16_384, MILLION) => Some(Duration::from_millis(150)),
            _ => None,
        };
        let effects = self.effects_since(&mark).await?;
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1)).copied();
        let (p50, p99) = (at(50).context("nothing measured")?, at(99).context("nothing measured")?);
        self.figure(&format!("one artifact to visible, p50{when}"), p50, 0, aim, floor, effects);
        self.figure(&format!("one artifact to visible, p99{when}"), p99, 0, None, floor, BTreeMap::new());
        Ok(p50)
    }

    /// Finishes many tasks which change nothing that is published.
    async fn finish_tasks(&self, tasks: u64) -> anyhow::Result<()> {
        let each = tasks.div_ceil(CLIENTS);
        let mut running = JoinSet::new();
        for index in 0..CLIENTS {
            let client = Client::new(self.system)?;
            running.spawn(async move {
                let mut last = String::new();
                for number in 0..each {
                    last = client.submit_as(&format!("{index}-{number}"), vec![absence(number)]).await?;
                }
                client.wait(last).await
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Publishes every bin anew until there are many files that nobody needs any more.
    async fn supersede_files(&self, files: u64) -> anyhow::Result<()> {
        for round in 0..files.div_ceil(self.scenario.bins.into()) {
            let task = self.client.submit((0..LARGE).map(|number| artifact(number, 1_000 + round)).collect()).await?;
            self.client.wait(task).await?;
        }
        Ok(())
    }

    /// Many artifacts in one request, in the place of those that are there: so the repository does not grow.
    async fn large(&mut self, round: u64) -> anyhow::Result<()> {
        let changes: Vec<_> = (0..LARGE).map(|number| artifact(number, round)).collect();
        let last = changes.last().context("no changes")?.clone();
        let mark = self.mark().await?;
        let begun = Instant::now();
        let task = self.client.submit(changes).await?;
        self.client.wait(task).await?;
        self.visible(&mark).await?;
        let time = begun.elapsed();
        self.client.verify(self.system, &last).await?;
        let floor = self.publication(self.bins_since(&mark).await?, 5).await?.floor(self.report.disk())?;
        let effects = self.effects_since(&mark).await?;
        self.figure(
            &format!("{LARGE} artifacts in one request, round {round}"),
            time,
            LARGE,
            Some(Duration::from_secs(1)),
            floor,
            effects,
        );
        Ok(())
    }

    /// Many clients at once, each with its own connection, sending the next request when the last was acknowledged;
    /// until all is visible. `first` is the number of the first artifact.
    async fn throughput(&mut self, first: u64) -> anyhow::Result<()> {
        let clients = (0..CLIENTS).map(|_| Client::new(self.system)).collect::<anyhow::Result<Vec<_>>>()?;
        let mark = self.mark().await?;
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for (client, index) in clients.into_iter().zip(0..) {
            let begin = first + index * SUBMISSIONS_PER_CLIENT;
            running.spawn(async move {
                let mut last = String::new();
                for number in begin..begin + SUBMISSIONS_PER_CLIENT {
                    last = client.submit(vec![artifact(number, 0)]).await?;
                }
                // Changes take effect in the order in which they were acknowledged.
                client.wait(last).await
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        self.visible(&mark).await?;
        let time = begun.elapsed();
        let artifacts = CLIENTS * SUBMISSIONS_PER_CLIENT;
        self.client.verify(self.system, &artifact(first + artifacts - 1, 0)).await?;
        let publications = self.client.publications().await? - mark.publications;
        ensure!(publications > 0, "nothing was published");
        let bins = self.bins_since(&mark).await?;
        // Acknowledging goes on beside publishing, so only publications count.
        let each = self.publication(bins / usize::try_from(publications)?, 5).await?.floor(self.report.disk())?;
        let floor = each.times(publications as f64);
        let name =
            format!("{CLIENTS} clients, {SUBMISSIONS_PER_CLIENT} artifacts each, in {publications} publications");
        let effects = self.effects_since(&mark).await?;
        self.figure(&name, time, artifacts, None, floor, effects);
        Ok(())
    }

    /// Waits for a newer timestamp than that of the mark.
    async fn visible(&self, mark: &Mark) -> anyhow::Result<()> {
        // Every publication has a timestamp of its own.
        self.client.wait_visible(u32::try_from(mark.publications + 1)?).await?;
        Ok(())
    }

    async fn mark(&self) -> anyhow::Result<Mark> {
        let (publications, effects) = (self.client.publications().await?, self.system.effects().await?);
        Ok(Mark { publications, snapshot: self.client.snapshot().await?.0, effects })
    }

    /// Documents of bins published since.
    async fn bins_since(&self, mark: &Mark) -> anyhow::Result<usize> {
        let (snapshot, _) = self.client.snapshot().await?;
        let newer = snapshot.meta.iter().map(|(role, entry)| {
            let before = mark.snapshot.meta.get(role).map_or(0, |entry| entry.version.get());
            entry.version.get() - before
        });
        Ok(usize::try_from(newer.sum::<u32>())?)
    }

    /// Seconds of each effect for one publication since.
    async fn effects_since(&self, mark: &Mark) -> anyhow::Result<BTreeMap<String, f64>> {
        let mean = |(effect, (seconds, count)): (String, (f64, f64))| {
            let (seconds_before, count_before) = mark.effects.get(&effect).copied().unwrap_or_default();
            let times = count - count_before;
            (times > 0.0).then_some((effect, (seconds - seconds_before) / times))
        };
        Ok(self.system.effects().await?.into_iter().filter_map(mean).collect())
    }

    /// A publication of so many bins, with documents as they are now.
    async fn publication(&mut self, bins: usize, large_rows: u32) -> anyhow::Result<Publication> {
        let (snapshot, snapshot_bytes) = self.client.snapshot().await?;
        let role = self.middle_bin()?;
        let bin = floor::document(&self.client.document(&snapshot, &role).await?)?;
        let snapshot = floor::document(&snapshot_bytes)?;
        let timestamp = floor::document(&self.client.fetch("timestamp.json").await?)?;
        self.cost("bin", bin);
        self.cost("snapshot", snapshot);
        self.cost("timestamp", timestamp);
        Ok(Publication { bins, bin, snapshot, timestamp, large_rows })
    }

    fn middle_bin(&self) -> anyhow::Result<RoleName> {
        let roles = self.system.layout.online_roles();
        roles.get(roles.len() / 2).cloned().context("no bins")
    }

    fn cost(&mut self, name: &str, cost: DocumentCost) {
        self.report.document(&self.scenario.name(), name, cost);
    }

    fn figure(
        &mut self,
        name: &str,
        time: Duration,
        artifacts: u64,
        aim: Option<Duration>,
        floor: floor::Floor,
        effects: BTreeMap<String, f64>,
    ) {
        eprintln!("  {name}: {time:.1?}, floor {:.1?}", floor.total());
        self.report.figure(
            &self.scenario.name(),
            Figure { name: name.to_owned(), time, artifacts, aim, floor: Some(floor), effects },
        );
    }
}
