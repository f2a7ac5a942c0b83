//! `rstuf task`: what became of requests.

mod cancel;
mod changes;
mod get;
mod id;
mod list;
mod results;
mod retry;
mod watch;

use crate::{context::Context, error::Error};

/// Follow what was asked for
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TaskCommand {
    /// Show one task
    Get(get::GetArgs),
    /// List tasks, newest first
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Follow a task until it is finished
    Watch(watch::WatchArgs),
    /// Show what a task that is held or waits is going to change
    Changes(changes::ChangesArgs),
    /// Show how each change of a finished task ended
    Results(results::ResultsArgs),
    /// Drop a task that is held, waits or is set aside: nothing of it takes effect
    Cancel(cancel::CancelArgs),
    /// Ask once more for a task that is set aside
    Retry(retry::RetryArgs),
}

pub(crate) async fn run(context: &Context, command: TaskCommand) -> Result<(), Error> {
    match command {
        TaskCommand::Get(args) => get::run(context, args).await,
        TaskCommand::List(args) => list::run(context, args).await,
        TaskCommand::Watch(args) => watch::run(context, args).await,
        TaskCommand::Changes(args) => changes::run(context, args).await,
        TaskCommand::Cancel(args) => cancel::run(context, args).await,
        TaskCommand::Retry(args) => retry::run(context, args).await,
        TaskCommand::Results(args) => results::run(context, args).await,
    }
}
