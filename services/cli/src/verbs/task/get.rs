//! `rstuf task get`

use serde::Serialize;

use super::id::TaskId;
use crate::context::Context;
use crate::error::Error;
use crate::{view, wait};

const EXAMPLES: &str = "\
Exit code 0 whatever the task's state: it was found. `task watch` tells by its exit code.

Examples:
  rstuf task get ID
  rstuf task get 4f1c          # short for the one task whose id begins or ends so
  rstuf task get --output json ID | jq -r .task.state";

/// Show one task
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID")]
    id: TaskId,
}

#[derive(Debug, Serialize)]
struct Answer {
    task: view::Task,
}

pub(crate) async fn run(context: &Context, args: GetArgs) -> Result<(), Error> {
    let client = context.client()?;
    let id = args.id.whole(&client).await?;
    let task = client.task(&id).await?;
    context.output.answer(&Answer { task: view::Task::from(task) }, human)
}

fn human(answer: &Answer) -> String {
    let task = &answer.task;
    let mut lines = vec![wait::line(task), format!("kind      {}, {}", task.kind, wait::changes(task.changes))];
    lines.extend(task.created_at.map(|at| format!("accepted  {at:.0}")));
    lines.extend(task.finished_at.map(|at| format!("finished  {at:.0}")));
    lines.extend(task.request_id.as_ref().map(|id| format!("request   {id}")));
    lines.join("\n")
}
