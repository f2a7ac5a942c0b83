//! Cancellations, and a coordinator that dies: what was answered as cancelled never takes effect, what was not may be
//! asked for again, and everything else is published once.

use std::io::Write as _;

use anyhow::{Context as _, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstuf_api::proto::{
    artifacts::v1::SubmitArtifactsRequest,
    tasks::v1::{GetTaskRequest, ListTaskChangesRequest, Task, TaskState},
};
use rstuf_tests::{
    Client, Expected,
    processes::{Processes, Service},
};
use tokio::task::JoinSet;
use tonic::Status;

use crate::{
    kills::{pause, seed},
    support::{Request, Witness, answered, is_transient},
};

const ROUNDS: usize = 5;
/// Submissions that wait, and that are held, in each round.
const WAITING: usize = 5;
const HELD: usize = 5;

/// A submission of one path.
struct Submitted {
    task: String,
    path: String,
    content: Vec<u8>,
    hold: bool,
}

async fn submit(client: &Client, path: String, hold: bool) -> anyhow::Result<Submitted> {
    let content = path.clone().into_bytes();
    let request = SubmitArtifactsRequest { changes: vec![client.file(&path, &content)?], hold, ..Default::default() };
    let task = client.artifacts().submit_artifacts(request).await?.into_inner().task.context("no task")?.id;
    Ok(Submitted { task, path, content, hold })
}

async fn state(client: &Client, task: &str) -> Result<TaskState, Status> {
    let answer = client.tasks().get_task(GetTaskRequest::by_id(task)).await?;
    Ok(answer.into_inner().task.unwrap_or_default().state())
}

/// What a publish request that waits says that it is going to publish.
async fn released(client: &Client, publish: &str) -> anyhow::Result<Vec<String>> {
    let (mut paths, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTaskChangesRequest { id: publish.to_owned(), page_size: 2, page_token };
        let page = client.tasks().list_task_changes(request).await?.into_inner();
        paths.extend(page.changes.into_iter().map(|change| change.path));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(paths);
        }
    }
}

/// One submission that is in a batch, others that wait or are held, and a publish request; nothing gets past the
/// targets signer. Answers them, the first one first, and the publish request.
async fn fill(client: &Client, number: usize) -> anyhow::Result<(Vec<Submitted>, String)> {
    let mut submitted = vec![submit(client, format!("{number}/first"), false).await?];
    let running = async || Ok(state(client, &submitted[0].task).await? == TaskState::Running);
    rstuf_tests::until("the first is under way", running).await?;
    for at in 0..WAITING + HELD {
        let hold = at % 2 == 1;
        submitted.push(submit(client, format!("{number}/{at}"), hold).await?);
    }
    let publish = Request::publish(format!("publish {number}")).acknowledged(client).await?;
    let held: Vec<&str> = submitted.iter().filter(|it| it.hold).map(|it| it.path.as_str()).collect();
    ensure!(released(client, &publish).await? == held, "not what it is going to publish");
    Ok((submitted, publish))
}

/// What became of a cancellation, after the start: whether it was answered before.
async fn is_cancelled(client: &Client, task: &str, answer: Result<Task, Status>) -> anyhow::Result<bool> {
    let was_answered = answer.is_ok();
    match answer {
        Ok(answer) => {
            ensure!(answer.state() == TaskState::Cancelled, "{answer:?}");
            let after = answered("the cancelled one", async || state(client, task).await).await??;
            ensure!(after == TaskState::Cancelled, "cancelled, and after the start {after:?}");
        }
        Err(status) => ensure!(is_transient(status.code()), "{status:?}"),
    }
    // Asked again, or for the first time: nothing is under way but the first.
    let again = answered("the cancellation", async || client.cancel(task).await).await??;
    ensure!(again.state() == TaskState::Cancelled, "{again:?}");
    Ok(was_answered)
}

/// One round: some of what waits and of what is held is cancelled, and the coordinator dies. Answers how many
/// cancellations were answered, and how many were not.
async fn round(
    system: &mut Processes,
    number: usize,
    random: &mut StdRng,
    expected: &mut Expected,
) -> anyhow::Result<[usize; 2]> {
    let client = system.client()?;
    system.kill(Service::Targets)?;
    let (mut submitted, publish) = fill(&client, number).await?;
    let mut cancels = JoinSet::new();
    // The last ones too, whose numbers are given again after the start.
    for Submitted { task, .. } in submitted[1..].iter().filter(|_| random.random_ratio(2, 3)) {
        let (client, task) = (client.clone(), task.clone());
        cancels.spawn(async move { (client.cancel(&task).await, task) });
    }
    pause(random, 12).await;
    system.kill(Service::Coordinator)?;
    system.spawn(Service::Coordinator)?;
    let first = answered("the first", async || state(&client, &submitted[0].task).await).await??;
    ensure!(first == TaskState::Running, "after a start it is {first:?}");
    let (mut cancelled, mut answers) = (Vec::new(), [0, 0]);
    while let Some(asked) = cancels.join_next().await {
        let (answer, task) = asked?;
        answers[usize::from(!is_cancelled(&client, &task, answer).await?)] += 1;
        cancelled.push(task);
    }

    system.spawn(Service::Targets)?;
    system.all_ready().await?;
    submitted.push(submit(&client, format!("{number}/later"), false).await?);
    client.done(&publish).await?;
    for Submitted { task, path, content, .. } in submitted {
        if cancelled.contains(&task) {
            ensure!(client.wait(&task).await?.state() == TaskState::Cancelled, "{path} was cancelled");
            expected.insert(path, None);
        } else {
            client.done(&task).await.with_context(|| path.clone())?;
            expected.insert(path, Some(content));
        }
    }
    let status = client.status().await?;
    ensure!((status.submissions_waiting, status.submissions_held) == (0, 0), "{status:?}");
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_never_takes_effect_after_kill_9() -> anyhow::Result<()> {
    let seed = seed()?;
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:4").await?;
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    let mut expected = Expected::new();
    let mut all = [0, 0];
    for number in 0..ROUNDS {
        let round = async {
            let answers = round(&mut system, number, &mut random, &mut expected).await?;
            witness.sees(&expected, None).await?;
            anyhow::Ok(answers)
        };
        let answers = round.await.with_context(|| format!("round {number}, RSTUF_CHAOS_SEED={seed}"))?;
        all = [all[0] + answers[0], all[1] + answers[1]];
    }
    let [answered, broken] = all;
    writeln!(std::io::stderr(), "{ROUNDS} rounds of cancellations, seed {seed}: {answered} answered, {broken} not")?;
    Ok(())
}
