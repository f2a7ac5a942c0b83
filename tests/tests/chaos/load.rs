//! Build systems that never stop submitting, and know what must come of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rstuf_api::proto::tasks::v1::{GetTaskRequest, Outcome, TaskState};
use rstuf_tests::{Client, Expected, client::removal};

use crate::support::Request;

/// Paths of one submitter: few, so that changes of one path follow each other closely.
const PATHS: u64 = 3;
/// Every so manieth change is a removal.
const REMOVAL_EVERY: u64 = 5;
/// Acknowledged and not finished, of one submitter.
const UNFINISHED_MAX: usize = 8;

/// Submits changes of paths that nobody else changes, one after the other, each with a request id: what is not
/// acknowledged is sent again. So the outcome of each is known.
pub(crate) struct Submitter {
    name: String,
    next: u64,
    /// Sent, and no answer came.
    pending: Option<Sent>,
    acknowledged: VecDeque<(String, Sent)>,
    /// As everything acknowledged leaves it.
    paths: Expected,
    /// Tasks that were seen to end as they must.
    pub(crate) finished: u64,
}

struct Sent {
    request: Request,
    path: String,
    content: Option<Vec<u8>>,
}

impl Submitter {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let (pending, acknowledged) = (None, VecDeque::new());
        Self { name: name.into(), next: 0, pending, acknowledged, paths: Expected::new(), finished: 0 }
    }

    /// What clients must find when everything acknowledged is published.
    pub(crate) fn expected(&self) -> &Expected {
        &self.paths
    }

    /// Acknowledged so far.
    pub(crate) fn submitted(&self) -> u64 {
        self.finished + self.acknowledged.len() as u64
    }

    /// Submits until it is told to stop.
    pub(crate) async fn run(mut self, client: Client, stop: Arc<AtomicBool>) -> anyhow::Result<Self> {
        while !stop.load(Ordering::Relaxed) {
            if self.acknowledged.len() < UNFINISHED_MAX {
                self.submit(&client).await?;
            } else {
                self.look(&client).await?;
            }
        }
        Ok(self)
    }

    async fn submit(&mut self, client: &Client) -> anyhow::Result<()> {
        let sent = match self.pending.take() {
            Some(sent) => sent,
            None => self.change(client)?,
        };
        match sent.request.send(client).await? {
            Some(task) => self.acknowledged.push_back((task, sent)),
            None => {
                self.pending = Some(sent);
                // The coordinator is away; it must not be kept busy with nothing but refusals when it comes back.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    fn change(&mut self, client: &Client) -> anyhow::Result<Sent> {
        self.next += 1;
        let path = format!("{}/{}", self.name, self.next % PATHS);
        let content = (!self.next.is_multiple_of(REMOVAL_EVERY)).then(|| format!("{} {}", self.name, self.next));
        let change = match &content {
            Some(content) => client.file(&path, content.as_bytes())?,
            None => removal(&path),
        };
        let request = Request::submit(format!("{}-{}", self.name, self.next), vec![change]);
        Ok(Sent { request, path, content: content.map(String::into_bytes) })
    }

    /// Looks whether the oldest is finished.
    async fn look(&mut self, client: &Client) -> anyhow::Result<()> {
        let Some((task, _)) = self.acknowledged.front() else { return Ok(()) };
        let answer = client.tasks().get_task(GetTaskRequest::by_id(task)).await;
        let state = answer.ok().and_then(|answer| answer.into_inner().task).map(|task| task.state());
        ensure!(state != Some(TaskState::Failed), "task {task} failed");
        match state {
            Some(TaskState::Done) => self.check_oldest(client).await,
            _ => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok(())
            }
        }
    }

    /// Checks the outcome of the oldest, which is done: another one, and it was applied twice, or in another order.
    async fn check_oldest(&mut self, client: &Client) -> anyhow::Result<()> {
        let Some((task, sent)) = self.acknowledged.front() else { return Ok(()) };
        // The coordinator may just have died again.
        let Ok(results) = client.results(task).await else { return Ok(()) };
        let outcomes: Vec<Outcome> = results.iter().map(|result| result.outcome()).collect();
        let was_there = self.paths.get(&sent.path).is_some_and(Option::is_some);
        let must_be = match (&sent.content, was_there) {
            (Some(_), false) => Outcome::Added,
            (Some(_), true) => Outcome::Replaced,
            (None, true) => Outcome::Removed,
            (None, false) => Outcome::NotFound,
        };
        ensure!(outcomes == [must_be], "{:?} ended as {outcomes:?}, must be {must_be:?}", sent.request);
        self.paths.insert(sent.path.clone(), sent.content.clone());
        self.acknowledged.pop_front();
        self.finished += 1;
        Ok(())
    }

    /// Waits until everything acknowledged is finished, and checks each outcome. What was never acknowledged is sent
    /// again first, so that it is known.
    pub(crate) async fn settle(&mut self, client: &Client) -> anyhow::Result<()> {
        let name = self.name.clone();
        rstuf_tests::until(&format!("submissions of {name} finish"), async || {
            if self.pending.is_some() {
                self.submit(client).await?;
            }
            self.look(client).await?;
            Ok(self.pending.is_none() && self.acknowledged.is_empty())
        })
        .await
        .with_context(|| format!("the submitter {name}"))
    }
}

/// Several submitters at work at the same time.
pub(crate) struct Load {
    submitters: Vec<Submitter>,
    stop: Arc<AtomicBool>,
    running: Vec<tokio::task::JoinHandle<anyhow::Result<Submitter>>>,
}

impl Load {
    pub(crate) fn new(count: usize) -> Self {
        let submitters = (0..count).map(|number| Submitter::new(format!("submitter-{number}"))).collect();
        Self { submitters, stop: Arc::default(), running: Vec::new() }
    }

    /// Begins.
    pub(crate) fn start(&mut self, client: &Client) {
        self.stop = Arc::default();
        let start = |submitter: Submitter| tokio::spawn(submitter.run(client.clone(), self.stop.clone()));
        self.running = self.submitters.drain(..).map(start).collect();
    }

    /// Ends, without waiting for what is not finished.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for submitter in self.running.drain(..) {
            self.submitters.push(rstuf_tests::within("a submitter's end", submitter).await???);
        }
        Ok(())
    }

    /// Waits until all that was acknowledged is finished; answers what clients must find then.
    pub(crate) async fn settle(&mut self, client: &Client) -> anyhow::Result<Expected> {
        let mut expected = BTreeMap::new();
        for submitter in &mut self.submitters {
            submitter.settle(client).await?;
            expected.extend(submitter.expected().clone());
        }
        Ok(expected)
    }

    /// Submissions acknowledged so far.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitters.iter().map(Submitter::submitted).sum()
    }
}
