//! kill -9 between what an import has on disk and the answer that says so.

use std::io::Write as _;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstuf_api::{
    Reason, Refusal,
    proto::{
        artifacts::v1::{Change, get_import_request::Key},
        tasks::v1::{ListTasksRequest, Outcome, TaskKind},
    },
};
use rstuf_tests::{
    Client, Expected,
    processes::{Processes, Service},
};

use crate::{
    kills::{pause, seed},
    support::{Witness, answered, is_transient},
};

const ROUNDS: usize = 4;
/// Imports at the same time.
const IMPORTERS: usize = 3;
/// In each round.
const KILLS: usize = 6;
/// Changes of one import, and of one call.
const CHANGES: usize = 120;
const CHANGES_PER_CALL_MAX: usize = 4;

/// One import, from its first call until it is acknowledged, however often the coordinator dies meanwhile.
struct Importer {
    client: Client,
    request_id: String,
    changes: Vec<Change>,
    random: StdRng,
    /// Calls to which no answer came.
    broken: usize,
}

impl Importer {
    /// Answers the task, and how many calls broke.
    async fn run(mut self) -> anyhow::Result<(String, usize)> {
        let (client, request_id) = (self.client.clone(), self.request_id.clone());
        let import = answered("an import", async || client.create_import(&request_id, false).await).await??;
        let mut offset = usize::try_from(import.next_offset)?;
        while offset < self.changes.len() {
            offset = self.append(&import.id, offset).await?;
        }
        while !self.commit(&import.id).await? {}
        let again = answered("the commit again", async || client.commit_import(&import.id).await).await??;
        ensure!(again == import.id, "repeated, the commit was answered with task {again}");
        Ok((again, self.broken))
    }

    /// Appends once; answers where it goes on.
    async fn append(&mut self, id: &str, offset: usize) -> anyhow::Result<usize> {
        let end = self.changes.len().min(offset + self.random.random_range(1..=CHANGES_PER_CALL_MAX));
        match self.client.append_import(id, offset as u64, &self.changes[offset..end]).await {
            Ok(appended) => {
                ensure!(appended.next_offset == end as u64, "appended {offset} to {end}: {appended:?}");
                Ok(end)
            }
            Err(status) if is_transient(status.code()) => {
                self.broken += 1;
                let (client, key) = (self.client.clone(), Key::RequestId(self.request_id.clone()));
                let open = answered("the import", async || client.get_import(key.clone()).await).await??;
                ensure!(open.id == id, "{id} became {}", open.id);
                let next = usize::try_from(open.next_offset)?;
                ensure!(
                    [offset, end].contains(&next),
                    "{offset} were acknowledged, {end} sent, and it goes on at {next}"
                );
                Ok(next)
            }
            Err(status) => Err(status.into()),
        }
    }

    /// Commits once; answers whether that was answered.
    async fn commit(&mut self, id: &str) -> anyhow::Result<bool> {
        match self.client.commit_import(id).await {
            Ok(task) => {
                ensure!(task == id, "the task of {id} is {task}");
                Ok(true)
            }
            Err(status) if is_transient(status.code()) => {
                self.broken += 1;
                let client = self.client.clone();
                match answered("the import", async || client.get_import(Key::Id(id.to_owned())).await).await? {
                    Ok(open) => ensure!(open.next_offset == self.changes.len() as u64, "changes are lost: {open:?}"),
                    Err(status) => {
                        let reason = Reason::of(&status).context("no reason")?;
                        ensure!(reason.name == Refusal::ImportCommitted && reason.metadata["task"] == id, "{status:?}");
                    }
                }
                Ok(false)
            }
            Err(status) => Err(status.into()),
        }
    }
}

/// Kills the coordinator again and again.
async fn kill(system: &mut Processes, random: &mut StdRng) -> anyhow::Result<()> {
    for _ in 0..KILLS {
        pause(random, 150).await;
        system.kill(Service::Coordinator)?;
        system.spawn(Service::Coordinator)?;
        system.ready(Service::Coordinator).await?;
    }
    Ok(())
}

/// How many tasks are imports.
async fn imports(client: &Client) -> anyhow::Result<usize> {
    let tasks = client.tasks().list_tasks(ListTasksRequest { page_size: 1_000, ..Default::default() }).await?;
    let tasks = tasks.into_inner();
    ensure!(tasks.next_page_token.is_empty(), "more tasks than one page has");
    Ok(tasks.tasks.iter().filter(|task| task.kind() == TaskKind::Import).count())
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_go_on_after_kill_9_and_are_applied_once() -> anyhow::Result<()> {
    let seed = seed()?;
    rounds(seed).await.with_context(|| format!("RSTUF_CHAOS_SEED={seed}"))
}

async fn rounds(seed: u64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let client = system.client()?;
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    let mut broken = 0;
    for round in 0..ROUNDS {
        let mut expected = Expected::new();
        let mut importers = Vec::new();
        for number in 0..IMPORTERS {
            // The same paths in each round: applied twice, a change would end as unchanged.
            let content = format!("{round}");
            let path = |at| format!("import/{number}/{at}");
            let changes = (0..CHANGES).map(|at| client.file(&path(at), content.as_bytes()));
            let changes = changes.collect::<Result<_, _>>()?;
            expected.extend((0..CHANGES).map(|at| (path(at), Some(content.clone().into_bytes()))));
            let random = StdRng::seed_from_u64(random.random());
            let request_id = format!("{round} {number}");
            importers.push(Importer { client: client.clone(), request_id, changes, random, broken: 0 }.run());
        }
        let imported = rstuf_tests::within("the imports", try_join_all(importers));
        let (imported, killed) = tokio::join!(imported, kill(&mut system, &mut random));
        killed?;
        let must_be = if round == 0 { Outcome::Added } else { Outcome::Replaced };
        for (task, calls) in imported?? {
            broken += calls;
            ensure!(client.done(&task).await?.changes == CHANGES as u64, "round {round}: changes of {task} are lost");
            let results = client.results(&task).await?;
            ensure!(results.len() == CHANGES && results.iter().all(|it| it.outcome() == must_be), "{results:?}");
        }
        ensure!(imports(&client).await? == (round + 1) * IMPORTERS, "round {round}: an import became two tasks");
        witness.sees(&expected, None).await.with_context(|| format!("round {round}"))?;
    }
    ensure!(broken > 0, "no call broke: this test kills too late");
    writeln!(std::io::stderr(), "{ROUNDS} rounds of imports, seed {seed}: {broken} calls broke, all went on")?;
    Ok(())
}
