//! `rstuf completions`

use clap_complete::Shell;
use serde::Serialize;

use crate::{context::Context, error::Error};

const EXAMPLES: &str = "\
Examples:
  rstuf completions bash > ~/.local/share/bash-completion/completions/rstuf
  rstuf completions zsh > ~/.zfunc/_rstuf
  rstuf completions fish > ~/.config/fish/completions/rstuf.fish";

/// Write the script with which a shell completes this command
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, Serialize)]
struct Answer {
    shell: String,
    script: String,
}

pub(crate) fn run(context: &Context, args: &CompletionsArgs, mut cli: clap::Command) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "rstuf", &mut script);
    let script = String::from_utf8(script).map_err(|error| Error::failed(error.to_string()))?;
    let answer = Answer { shell: args.shell.to_string(), script };
    context.output.script(&answer, |answer| &answer.script)
}
