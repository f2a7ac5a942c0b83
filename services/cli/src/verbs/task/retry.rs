//! `rstuf task retry`

use serde::Serialize;

use super::id::TaskId;
use crate::{
    context::Context,
    error::Error,
    view,
    wait::{self, WaitArgs, Waited},
};

const EXAMPLES: &str = "\
A task is set aside when the targets signer refuses it and waiting does not mend that: `rstuf task get` shows why.
Mend it (raise a limit of the signer, say), then retry. It counts as accepted now: its changes take effect after those
of all that was accepted before, and replace what others made of the same paths meanwhile. `rstuf task cancel` drops it
instead.

Examples:
  rstuf task list --state set_aside
  rstuf task retry ID
  rstuf task retry --no-wait --output json ID | jq -r .task.state";

/// Ask once more for a task that is set aside
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RetryArgs {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID")]
    id: TaskId,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Serialize)]
struct Answer {
    task: view::Task,
}

pub(crate) async fn run(context: &Context, args: RetryArgs) -> Result<(), Error> {
    let client = context.client()?;
    let id = args.id.whole(&client).await?;
    let task = client.retry(&id).await.map_err(|error| error.of_task(&id))?;
    let waited = match args.wait.no_wait {
        true => Waited::not(task),
        false => wait::until_finished(&client, context.output, task, args.wait.wait_timeout).await?,
    };
    let verdict = waited.verdict();
    context.output.answer(&Answer { task: waited.task }, |answer| wait::line(&answer.task))?;
    verdict
}
