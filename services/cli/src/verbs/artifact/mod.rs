//! `rstuf artifact`: artifacts in, out, and looked up.

mod add;
mod get;
mod list;
mod path_list;
mod remove;

use crate::{context::Context, error::Error};

/// Add, remove and look up artifacts
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ArtifactCommand {
    /// Add files, or replace those with the same path
    Add(add::AddArgs),
    /// Remove artifacts by their paths
    #[command(visible_alias = "rm")]
    Remove(remove::RemoveArgs),
    /// Show what the newest publication says of one artifact
    Get(get::GetArgs),
    /// List the artifacts of the newest publication
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
}

pub(crate) async fn run(context: &Context, command: ArtifactCommand) -> Result<(), Error> {
    match command {
        ArtifactCommand::Add(args) => add::run(context, args).await,
        ArtifactCommand::Remove(args) => remove::run(context, args).await,
        ArtifactCommand::Get(args) => get::run(context, args).await,
        ArtifactCommand::List(args) => list::run(context, args).await,
    }
}
