//! Waiting for a task, through restarts of the coordinator.

use std::time::Duration;

use rstuf_runtime::retry::Policy;

use crate::{
    client::{Broken, Client},
    error::Error,
    output::Output,
    view::{self, TaskState},
};

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

/// What a task carries, for people. What a request to publish releases is known when it is done.
#[must_use]
pub(crate) fn carried(task: &view::Task) -> String {
    match (task.kind, task.state) {
        ("publish", TaskState::Waiting | TaskState::Running) => "all that is held".to_owned(),
        _ => changes(task.changes),
    }
}

/// Whether and how long a verb waits for its task.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WaitArgs {
    /// Do not wait: answer as soon as the coordinator has the request safely on disk
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait until every client can see it, for example 30 (seconds) or 10m; then exit 75, and the task goes
    /// on
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
    pub(crate) fn not(task: view::Task) -> Self {
        Self { task, late: false }
    }

    /// How the verb ends.
    ///
    /// # Errors
    /// [`crate::error::Exit::Failed`] where the task failed or is set aside, [`crate::error::Exit::TryAgain`] where the
    /// time was up.
    pub(crate) fn verdict(&self) -> Result<(), Error> {
        let id = &self.task.id;
        if self.task.state == TaskState::SetAside {
            let why = self.task.error.as_ref();
            let why = why.map(|error| format!(": {} ({})", error.message, error.reason)).unwrap_or_default();
            let advice = format!(
                "when that is mended, `rstuf task retry {id}` asks for it again; `rstuf task cancel {id}` drops it"
            );
            let message = format!("task {id} is set aside, nothing of it took effect{why}");
            return Err(about(Error::failed(message).next(advice), &self.task));
        }
        if let Some(error) = &self.task.error {
            let message = format!("task {id} failed, nothing of it took effect: {} ({})", error.message, error.reason);
            return Err(about(Error::failed(message), &self.task));
        }
        if self.task.state == TaskState::Failed {
            let message = format!("task {id} failed, nothing of it took effect");
            return Err(about(Error::failed(message), &self.task));
        }
        if self.task.state == TaskState::Cancelled {
            let message = format!("task {id} was cancelled, nothing of it took effect");
            return Err(about(Error::failed(message), &self.task));
        }
        if self.late {
            let message = "the task is accepted, and will go on, but was not finished in time";
            return Err(about(Error::try_again(message), &self.task));
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
    let bar = output.spinner("waiting");
    let waited = follow(client, task, Some(timeout), |task| {
        bar.set_message(words(task));
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
    let mut last = task;
    let finished = watch(client, &mut last, on_change);
    let outcome = match timeout {
        Some(limit) => tokio::time::timeout(limit, finished).await,
        None => Ok(finished.await),
    };
    match outcome {
        Ok(Ok(())) => Ok(Waited { task: last, late: false }),
        Ok(Err(error)) => Err(accepted(error, &last)),
        Err(_late) => Ok(Waited { task: last, late: true }),
    }
}

/// What an error means where the task that it keeps us from seeing was accepted.
fn accepted(error: Error, task: &view::Task) -> Error {
    about(error.after(format_args!("task {} is accepted, what became of it is unknown", task.id)), task)
}

/// The same error, naming the task and its request.
pub(crate) fn about(error: Error, task: &view::Task) -> Error {
    let error = error.of_task(&task.id);
    match &task.request_id {
        Some(id) => error.of_request(id),
        None => error,
    }
}

async fn watch(
    client: &Client,
    last: &mut view::Task,
    mut on_change: impl FnMut(&view::Task) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut patience = client.patience(RECONNECT);
    on_change(last)?;
    while !last.ends_a_wait() {
        let mut stream = match client.watch(&last.id).await? {
            Ok(stream) => stream,
            Err(Broken { error, .. }) => {
                patience.again(error).await?;
                continue;
            }
        };
        let broken = loop {
            match stream.next().await? {
                Ok(Some(task)) => {
                    patience.heard();
                    if task != *last {
                        patience.moved_on();
                        *last = task;
                        on_change(last)?;
                    }
                }
                Ok(None) => break Error::try_again("the coordinator stopped telling about the task"),
                Err(Broken { error, .. }) => break error,
            }
        };
        if !last.ends_a_wait() {
            patience.again(broken).await?;
        }
    }
    Ok(())
}

/// What a task is doing, for people who wait.
fn words(task: &view::Task) -> String {
    match (&task.progress, task.state) {
        (Some(progress), TaskState::Running) => progress_words(progress),
        (_, TaskState::Waiting | TaskState::Running) => "waiting for its turn".to_owned(),
        (_, state) => state.as_str().to_owned(),
    }
}

/// Where a running task is, for people. A signer says nothing before it has signed all roles that it was asked for.
fn progress_words(progress: &view::Progress) -> String {
    let step = step_words(progress.step);
    let view::Progress { roles_done, roles_total, roles_sent, .. } = progress;
    match (roles_done, roles_sent) {
        _ if *roles_total <= 1 => step.to_owned(),
        (0, sent) if sent < roles_total => format!("{step}, {sent} of {roles_total} roles sent to the signer"),
        (0, _) => format!("{step}, the signer has all {roles_total} roles"),
        (done, _) => format!("{step}, {done} of {roles_total} roles"),
    }
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
        (_, Some(counts), _) if task.state == TaskState::Done && task.changes > 0 => {
            format!(": {}{}", counts.words(), publication(task))
        }
        (Some(progress), _, _) if task.state == TaskState::Running => format!(": {}", progress_words(progress)),
        _ if task.state == TaskState::Done => publication(task),
        _ => format!(": {}", carried(task)),
    };
    format!("{} {}{detail}", task.id, task.state.as_str())
}

/// The publication that made a task visible, for people.
#[must_use]
pub(crate) fn publication(task: &view::Task) -> String {
    task.publication.map(|number| format!(", publication {number}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::Exit, view::Progress};

    /// Whoever waits must not take it for a request that never arrived.
    #[test]
    fn a_coordinator_that_stays_away_leaves_the_end_of_an_accepted_task_open() {
        let task = view::Task { request_id: Some("r1".into()), ..view::Task::of("t1") };
        let nobody = Error::unreachable("no coordinator answers at http://a:1").next("start one");
        let away = accepted(nobody, &task);
        assert_eq!((away.exit, away.task.as_deref()), (Exit::TryAgain, Some("t1")));
        let text = away.to_string();
        for part in ["t1 is accepted", "unknown", "http://a:1", "rstuf task watch t1", "request id is r1"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("start one"), "{text}");
        assert_eq!(accepted(Error::failed("no"), &task).exit, Exit::Failed);
    }

    #[test]
    fn what_is_waited_for_is_told_in_words_that_fit() {
        let told = |state, step, roles_done, roles_total, roles_sent| {
            let progress = Some(Progress { step, roles_done, roles_total, roles_sent });
            words(&view::Task { state, progress, ..view::Task::of("t1") })
        };
        assert_eq!(told(TaskState::Running, "targets", 3, 256, 256), "signing artifacts, 3 of 256 roles");
        assert_eq!(
            told(TaskState::Running, "targets", 0, 256, 7),
            "signing artifacts, 7 of 256 roles sent to the signer"
        );
        assert_eq!(told(TaskState::Running, "targets", 0, 256, 256), "signing artifacts, the signer has all 256 roles");
        assert_eq!(told(TaskState::Running, "snapshot", 0, 1, 0), "signing the snapshot");
        assert_eq!(told(TaskState::Waiting, "unknown", 0, 0, 0), "waiting for its turn");
        assert_eq!(told(TaskState::Done, "unknown", 0, 0, 0), "done");
    }

    /// Nobody knows how many changes are released before they are.
    #[test]
    fn a_request_to_publish_carries_all_that_is_held() {
        let waiting = view::Task { kind: "publish", ..view::Task::of("t1") };
        assert_eq!(line(&waiting), "t1 waiting: all that is held");
        let done = view::Task { state: TaskState::Done, changes: 3, ..waiting };
        assert_eq!(carried(&done), "3 changes");
        assert_eq!(line(&view::Task::of("t2")), "t2 waiting: 0 changes");
    }

    #[test]
    fn a_number_alone_is_seconds() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("-1").is_err() && duration("soon").unwrap_err().contains("30"));
    }
}
