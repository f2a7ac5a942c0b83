//! Waiting for a task, through restarts of the coordinator.

use std::time::Duration;

use indicatif::ProgressBar;
use rstuf_runtime::retry::Policy;
use tokio::time::Instant;

use crate::client::{Broken, Client};
use crate::error::{Error, Exit};
use crate::output::Output;
use crate::view;

/// How a watch that broke off is started again: for a minute without news, which is longer than a coordinator takes to
/// restart.
const RECONNECT: Policy = Policy {
    attempts_max: 100,
    delay_base: Duration::from_millis(100),
    delay_max: Duration::from_secs(2),
    elapsed_max: Duration::from_secs(60),
    unknown_outcome: true,
};

/// Reads a duration on the command line; a plain number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let allowed = "allowed: seconds, or numbers with units, such as 30s, 5m or 1h30m";
    humantime::parse_duration(text).map_err(|_| allowed.to_owned())
}

/// How many changes, for people.
#[must_use]
pub(crate) fn changes(count: u64) -> String {
    if count == 1 { "1 change".to_owned() } else { format!("{count} changes") }
}

/// Whether and how long a verb waits for its task.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WaitArgs {
    /// Do not wait: answer as soon as the coordinator has the request safely on disk
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait until every client can see it, for example 30s or 10m; then exit 75, and the task goes on
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) wait_timeout: Duration,
}

/// A task, as far as it was waited for.
#[derive(Debug, Clone)]
pub(crate) struct Waited {
    /// Its last known state.
    pub(crate) task: view::Task,
    /// The time was up before it was finished.
    pub(crate) late: bool,
}

impl Waited {
    /// A task that nobody waits for.
    #[must_use]
    pub(crate) fn not(task: view::Task) -> Waited {
        Waited { task, late: false }
    }

    /// How the verb ends.
    ///
    /// # Errors
    /// [`crate::error::Exit::Failed`] where the task failed, [`crate::error::Exit::TryAgain`] where the time was up.
    pub(crate) fn verdict(&self) -> Result<(), Error> {
        let id = &self.task.id;
        if let Some(error) = &self.task.error {
            let message = format!("task {id} failed, nothing of it took effect: {} ({})", error.message, error.reason);
            return Err(Error::failed(message));
        }
        if self.task.state == "failed" {
            return Err(Error::failed(format!("task {id} failed, nothing of it took effect")));
        }
        if self.late {
            let message = format!("task {id} is accepted, and will go on, but was not finished in time");
            return Err(Error::try_again(message).next(format!("follow it with `rstuf task watch {id}`")));
        }
        Ok(())
    }
}

/// Waits until `task` is finished, with a progress bar.
///
/// # Errors
/// Where the coordinator can't be asked; with what to do to find the task again.
pub(crate) async fn until_finished(
    client: &Client,
    output: Output,
    task: view::Task,
    timeout: Duration,
) -> Result<Waited, Error> {
    let bar = output.steps_bar(1);
    let waited = follow(client, task, Some(timeout), |task| {
        show(&bar, task);
        Ok(())
    })
    .await;
    bar.finish_and_clear();
    waited
}

/// Follows `task` until it is finished, and calls `on_change` with every new state.
///
/// # Errors
/// Where the coordinator can't be asked, or `on_change` fails.
pub(crate) async fn follow(
    client: &Client,
    task: view::Task,
    timeout: Option<Duration>,
    on_change: impl FnMut(&view::Task) -> Result<(), Error>,
) -> Result<Waited, Error> {
    let id = task.id.clone();
    let mut last = task;
    let finished = watch(client, &mut last, on_change);
    let outcome = match timeout {
        Some(limit) => tokio::time::timeout(limit, finished).await,
        None => Ok(finished.await),
    };
    match outcome {
        Ok(Ok(())) => Ok(Waited { task: last, late: false }),
        Ok(Err(error)) => {
            let follow = format!("the task is {id}: follow it with `rstuf task watch {id}`");
            let before = error.next.clone().filter(|_| error.exit != Exit::TryAgain);
            Err(error.next(before.map_or_else(|| follow.clone(), |before| format!("{before}; {follow}"))))
        }
        Err(_late) => Ok(Waited { task: last, late: true }),
    }
}

async fn watch(
    client: &Client,
    last: &mut view::Task,
    mut on_change: impl FnMut(&view::Task) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut silence = Silence::new();
    on_change(last)?;
    while !last.is_finished() {
        let mut stream = match client.watch(&last.id).await? {
            Ok(stream) => stream,
            Err(Broken(error)) => {
                silence.pause(error).await?;
                continue;
            }
        };
        let broken = loop {
            match stream.next().await? {
                Ok(Some(task)) => {
                    silence.since = Instant::now();
                    let task = view::Task::from(task);
                    if task != *last {
                        silence.attempt = 0;
                        *last = task;
                        on_change(last)?;
                    }
                }
                Ok(None) => break Error::try_again("the coordinator stopped telling about the task"),
                Err(Broken(error)) => break error,
            }
        };
        if !last.is_finished() {
            silence.pause(broken).await?;
        }
    }
    Ok(())
}

/// How long there was no news.
struct Silence {
    /// The last time that anything was heard.
    since: Instant,
    /// Attempts since the task last changed.
    attempt: u32,
}

impl Silence {
    fn new() -> Silence {
        Silence { since: Instant::now(), attempt: 0 }
    }

    /// Waits a while before the next attempt, or gives up with `error`.
    async fn pause(&mut self, error: Error) -> Result<(), Error> {
        let delay = RECONNECT.delay(self.attempt, &mut rand::rng());
        self.attempt += 1;
        if self.attempt >= RECONNECT.attempts_max || self.since.elapsed() + delay > RECONNECT.elapsed_max {
            return Err(error);
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

fn show(bar: &ProgressBar, task: &view::Task) {
    match &task.progress {
        Some(progress) if task.state == "running" => {
            bar.set_message(step_words(progress.step));
            bar.set_length(progress.roles_total.max(1).into());
            bar.set_position(progress.roles_done.into());
        }
        _ => bar.set_message(task.state),
    }
    bar.tick();
}

/// A step, for people.
#[must_use]
pub(crate) fn step_words(step: &str) -> &'static str {
    match step {
        "targets" => "signing artifacts",
        "snapshot" => "signing the snapshot",
        "timestamp" => "signing the timestamp",
        "publish" => "publishing",
        _ => "working",
    }
}

/// A task's state in one line, for people.
#[must_use]
pub(crate) fn line(task: &view::Task) -> String {
    let detail = match (&task.progress, &task.counts, &task.error) {
        (_, _, Some(error)) => format!(": {} ({})", error.message, error.reason),
        (_, Some(counts), _) if task.state == "done" && task.changes > 0 => {
            format!(": {}{}", counts.words(), publication(task))
        }
        (Some(progress), _, _) if task.state == "running" => {
            format!(": {}, {} of {} roles", step_words(progress.step), progress.roles_done, progress.roles_total)
        }
        _ if task.state == "done" => publication(task),
        _ => format!(": {}", changes(task.changes)),
    };
    format!("{} {}{detail}", task.id, task.state)
}

/// The publication that made a task visible, for people.
#[must_use]
pub(crate) fn publication(task: &view::Task) -> String {
    task.publication.map(|number| format!(", publication {number}")).unwrap_or_default()
}
