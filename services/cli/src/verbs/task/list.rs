//! `rstuf task list`

use serde::Serialize;

use crate::{
    context::Context,
    error::Error,
    output::table,
    page,
    view::{self, TaskState},
};

/// Tasks in one answer, at most.
pub(super) const PAGE_MAX: u32 = 1_000;

const EXAMPLES: &str = "\
Finished tasks are remembered for 30 days, a million at most. With --output json: {\"tasks\": [...], \"more\": false}.

Examples:
  rstuf task list
  rstuf task list --state failed --limit 10
  rstuf task list --all --output json";

/// List tasks, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only tasks in this state
    #[arg(long, value_name = "STATE")]
    state: Option<TaskState>,
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value = "20", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    tasks: Vec<view::Task>,
    more: bool,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<(), Error> {
    let client = context.client()?;
    let limit = (!args.all).then(|| usize::try_from(args.limit).unwrap_or(usize::MAX));
    let listed = page::collect(limit, PAGE_MAX, async |page_size, page_token| {
        client.list_tasks(args.state, page_size, page_token).await
    })
    .await?;
    context.output.answer(&Answer { tasks: listed.items, more: listed.more }, human)
}

fn human(answer: &Answer) -> String {
    if answer.tasks.is_empty() {
        return "no tasks".to_owned();
    }
    let row = |task: &view::Task| {
        let accepted = task.created_at.map(|at| format!("{at:.0}")).unwrap_or_default();
        [task.id.clone(), task.kind.to_owned(), task.state.as_str().to_owned(), task.changes.to_string(), accepted]
    };
    table(["ID", "KIND", "STATE", "CHANGES", "ACCEPTED"], answer.tasks.iter().map(row))
}
