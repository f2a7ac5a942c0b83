//! `rstuf version`

use serde::Serialize;

use crate::{context::Context, error::Error};

/// Show the version of this command
#[derive(Debug, clap::Args)]
#[command(after_help = "The coordinator's version is shown by `rstuf status`.\n\nExamples:\n  rstuf version")]
pub(crate) struct VersionArgs {}

#[derive(Debug, Serialize)]
struct Answer {
    name: &'static str,
    version: &'static str,
}

pub(crate) fn run(context: &Context, _args: &VersionArgs) -> Result<(), Error> {
    let answer = Answer { name: "rstuf", version: env!("CARGO_PKG_VERSION") };
    context.output.answer(&answer, |answer| format!("{} {}", answer.name, answer.version))
}
