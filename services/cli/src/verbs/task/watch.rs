//! `rstuf task watch`

use std::time::Duration;

use super::id::TaskId;
use crate::{context::Context, error::Error, view, wait};

const EXAMPLES: &str = "\
One line for every step; with --output json, one JSON document a line, each the task as it then was. Goes on through
restarts of the coordinator. Exit code 0 when the task is done, 1 when it failed, 75 when --wait-timeout was up or the
coordinator stays away.

Examples:
  rstuf task watch ID
  rstuf task watch --output json --wait-timeout 10m ID";

/// Follow a task until it is finished
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID")]
    id: TaskId,
    /// How long to follow it, for example 30 (seconds) or 10m [default: until it is finished]
    #[arg(long, value_name = "DURATION", value_parser = wait::duration)]
    wait_timeout: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: WatchArgs) -> Result<(), Error> {
    let client = context.client()?;
    let id = args.id.whole(&client).await?;
    let task = client.task(&id).await?;
    let show = |task: &view::Task| context.output.line(task, wait::line);
    wait::follow(&client, task, args.wait_timeout, show).await?.verdict()
}
