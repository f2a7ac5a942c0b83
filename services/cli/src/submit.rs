//! Handing changes over: one request where they fit, an import of several where not; and waiting for what becomes of
//! them.

use std::str::FromStr as _;

use indicatif::ProgressBar;
use rstuf_api::RequestId;
use rstuf_tuf::Change;
use serde::Serialize;

use crate::{
    client::Client,
    collect::Skipped,
    context::Context,
    error::Error,
    output::{Output, table},
    page::{self, Listed},
    upload::{self, Cut, Order, upload},
    view::{self, TaskState},
    wait::{self, WaitArgs, Waited},
};

/// Results in one answer, at most.
const RESULTS_PAGE_MAX: u32 = 10_000;

/// How changes are handed over.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// Do not publish: keep the changes back until `rstuf publish`; answers at once, as with --no-wait
    #[arg(long)]
    pub(crate) hold: bool,
    /// Show how each change ended
    #[arg(long, conflicts_with_all = ["no_wait", "hold"])]
    pub(crate) results: bool,
}

/// What every verb that makes a task understands.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Makes it safe to run the same command again: the same id and contents are the same task [default: a random one]
    #[arg(long, value_name = "ID", value_parser = RequestId::from_str)]
    request_id: Option<RequestId>,
}

impl RequestArgs {
    /// The caller's request id, or a random one.
    pub(crate) fn request_id(&self) -> String {
        self.request_id.as_ref().map_or_else(|| uuid::Uuid::new_v4().to_string(), ToString::to_string)
    }

    /// Whether the caller gave none, so that nobody knows it yet.
    pub(crate) fn is_random(&self) -> bool {
        self.request_id.is_none()
    }
}

/// What became of a request, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) task: view::Task,
    /// How each change ended, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results: Option<Vec<view::ChangeResult>>,
    /// There are more of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) more: Option<bool>,
    /// The time was up: how to follow it is for the error to say.
    #[serde(skip)]
    late: bool,
    #[serde(flatten)]
    before: Before,
}

/// How a verb ends that made a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Whether and how long it waits.
    pub(crate) wait: &'a WaitArgs,
    /// The task stays held, so nobody waits for it.
    pub(crate) hold: bool,
    /// How many results are shown, if any.
    pub(crate) results: Option<usize>,
}

impl<'a> From<&'a SubmitArgs> for Finish<'a> {
    fn from(args: &'a SubmitArgs) -> Self {
        Finish { wait: &args.request.wait, hold: args.hold, results: args.results.then_some(usize::MAX) }
    }
}

/// What was done before changes were handed over.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Before {
    /// What was found and not submitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped: Vec<Skipped>,
    /// Files that were copied to where a mirror serves them, and were not there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) copied: Option<usize>,
}

/// Submits `changes`, waits as told, reports, and answers the task as far as it was waited for.
///
/// # Errors
/// Where they are refused or the task fails, or the coordinator can't be reached.
pub(crate) async fn run(
    context: &Context,
    client: &Client,
    changes: &[Change],
    before: Before,
    args: &SubmitArgs,
) -> Result<view::Task, Error> {
    let request_id = args.request.request_id();
    let task = send(client, context.output, changes, args.hold, &request_id).await;
    let task = task.map_err(|error| error.of_request(&request_id))?;
    finish(context, client, task, args.into(), before).await
}

/// Waits for `task` as told, reports, and answers it as far as it was waited for.
///
/// # Errors
/// Where it fails, or the coordinator can't be reached.
pub(crate) async fn finish(
    context: &Context,
    client: &Client,
    task: view::Task,
    how: Finish<'_>,
    before: Before,
) -> Result<view::Task, Error> {
    let wait = how.wait;
    let waited = if wait.no_wait || how.hold {
        Waited::not(task)
    } else {
        wait::until_finished(client, context.output, task, wait.wait_timeout).await?
    };
    let done = waited.task.state == TaskState::Done;
    let listed = match how.results.filter(|_| done) {
        Some(limit) => {
            let listed = results(client, &waited.task.id, Some(limit)).await;
            Some(listed.map_err(|error| unread(error, &waited.task))?)
        }
        None => None,
    };
    let more = listed.as_ref().map(|listed| listed.more);
    let results = listed.map(|listed| listed.items);
    let report = Report { task: waited.task.clone(), results, more, late: waited.late, before };
    context.output.answer(&report, human)?;
    waited.verdict().map(|()| report.task)
}

/// What keeps us from reading the results of a task that is done.
fn unread(error: Error, task: &view::Task) -> Error {
    let error = error.after(format_args!("task {} is done, but its results can't be read", task.id));
    wait::about(error.next(format!("read them with `rstuf task results {}`", task.id)), task)
}

fn human(report: &Report) -> String {
    let task = &report.task;
    let request = task.request_id.as_ref().map(|id| format!(", request id {id}")).unwrap_or_default();
    let mut text = match task.state {
        TaskState::Done => format!("{} (task {})", done(task), task.id),
        TaskState::Held => {
            let changes = wait::changes(task.changes);
            format!("held: {changes} (task {}{request})\npublish with `rstuf publish`", task.id)
        }
        TaskState::Waiting | TaskState::Running => {
            let changes = wait::carried(task);
            let follow = format!("\nfollow it with `rstuf task watch {}`", task.id);
            let follow = if report.late { "" } else { &follow };
            format!("accepted: {changes} (task {}{request}){follow}", task.id)
        }
        _ => wait::line(task),
    };
    if let Some(results) = report.results.as_ref().filter(|results| !results.is_empty()) {
        text.push('\n');
        text.push_str(&results_table(results));
    }
    if report.more == Some(true) {
        text.push_str(&format!("\nand more: `rstuf task results {}` shows them all", task.id));
    }
    text
}

fn done(task: &view::Task) -> String {
    let verb = if task.publication.is_some() { "published" } else { "nothing to publish" };
    match &task.counts {
        Some(counts) if task.changes > 0 => format!("{verb}: {}{}", counts.words(), wait::publication(task)),
        _ => format!("{verb}{}", wait::publication(task)),
    }
}

/// Results as a table.
pub(crate) fn results_table(results: &[view::ChangeResult]) -> String {
    table(["OUTCOME", "PATH"], results.iter().map(|result| [result.outcome.as_str().to_owned(), result.path.clone()]))
}

/// All results of a task, or the first `limit`.
///
/// # Errors
/// As `ListTaskResults`.
pub(crate) async fn results(
    client: &Client,
    id: &str,
    limit: Option<usize>,
) -> Result<Listed<view::ChangeResult>, Error> {
    page::collect(limit, RESULTS_PAGE_MAX, async |page_size, page_token| {
        client.task_results(id, page_size, page_token).await
    })
    .await
}

/// Hands changes over, in one request or an import of several.
pub(crate) async fn send(
    client: &Client,
    output: Output,
    changes: &[Change],
    hold: bool,
    request_id: &str,
) -> Result<view::Task, Error> {
    let limits = upload::limits_of(client, changes.len()).await?;
    let mut cut = Cut::new(each(changes.iter().cloned()), limits);
    let first = cut.next()?.unwrap_or_default();
    if cut.next()?.is_none() {
        return client.submit(request_id, hold, first).await;
    }
    let request_id = request_id.to_owned();
    let order = Order { limits, request_id, hold, tell_id: false, restart: false, output };
    upload(client, each(Vec::from(changes).into_iter()), &order, &ProgressBar::hidden()).await
}

/// One after the other.
fn each(mut changes: impl Iterator<Item = Change>) -> impl FnMut() -> Result<Option<Change>, Error> {
    move || Ok(changes.next())
}
