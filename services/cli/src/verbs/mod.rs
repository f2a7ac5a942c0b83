//! The verbs, each with its arguments, its examples and what it does; what they share stands beside this folder.

mod artifact;
mod ceremony;
mod completions;
mod config;
mod dev;
mod import;
mod key;
mod publish;
mod status;
mod task;
mod version;

use crate::{context::Context, error::Error};

/// What the command can be asked to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Dev(dev::DevArgs),
    Ceremony(ceremony::CeremonyArgs),
    #[command(subcommand)]
    Key(key::KeyCommand),
    #[command(subcommand)]
    Artifact(artifact::ArtifactCommand),
    #[command(subcommand)]
    Task(task::TaskCommand),
    Status(status::StatusArgs),
    Import(import::ImportArgs),
    Publish(publish::PublishArgs),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Completions(completions::CompletionsArgs),
    Version(version::VersionArgs),
}

/// Does what was asked; `cli` is the whole command line, which completions describe.
///
/// # Errors
/// Why it did not.
pub(crate) async fn run(context: &Context, verb: Verb, cli: clap::Command) -> Result<(), Error> {
    match verb {
        Verb::Dev(args) => Box::pin(dev::run(context, args)).await,
        Verb::Ceremony(args) => Box::pin(ceremony::run(context, args)).await,
        Verb::Key(command) => key::run(context, command),
        Verb::Artifact(command) => Box::pin(artifact::run(context, command)).await,
        Verb::Task(command) => Box::pin(task::run(context, command)).await,
        Verb::Status(args) => status::run(context, args).await,
        Verb::Import(args) => Box::pin(import::run(context, args)).await,
        Verb::Publish(args) => Box::pin(publish::run(context, args)).await,
        Verb::Config(command) => config::run(context, &command),
        Verb::Completions(args) => completions::run(context, &args, cli),
        Verb::Version(args) => version::run(context, &args),
    }
}
