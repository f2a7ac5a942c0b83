//! `rstuf task cancel`

use serde::Serialize;

use super::id::TaskId;
use crate::{context::Context, error::Error, view, wait};

const EXAMPLES: &str = "\
What is held, waits or is set aside can be cancelled; what is being signed and published can't, and what is done can
only be undone by other changes. What was set aside has failed then, for what it was refused for. Cancelling what is
cancelled is no error.

Examples:
  rstuf task list --state held
  rstuf task changes ID            # what it would change
  rstuf task cancel ID";

/// Drop a task that is held, waits or is set aside: nothing of it takes effect
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CancelArgs {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID")]
    id: TaskId,
}

#[derive(Debug, Serialize)]
struct Answer {
    task: view::Task,
}

pub(crate) async fn run(context: &Context, args: CancelArgs) -> Result<(), Error> {
    let client = context.client()?;
    let id = args.id.whole(&client).await?;
    let task = client.cancel(&id).await.map_err(|error| error.of_task(&id))?;
    context.output.answer(&Answer { task }, |answer| wait::line(&answer.task))
}
