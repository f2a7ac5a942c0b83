//! `rstuf config`: what the command's own settings are, and who says so.

use serde::Serialize;

use crate::{
    context::Context,
    error::Error,
    output::{Format, table},
    settings::{Setting, Settings},
};

const ABOUT: &str = "\
Settings come from a file, from the environment and from flags; the later wins.

  file         $RSTUF_CONFIG, else $XDG_CONFIG_HOME/rstuf/config.toml, else ~/.config/rstuf/config.toml
  server       server = \"http://HOST:PORT\"   RSTUF_SERVER   --server   [default: http://127.0.0.1:50051]
  output       output = \"human\" or \"json\"    RSTUF_OUTPUT   --output, --json   [default: human]

Unknown keys in the file are refused. Any mistake ends every verb with exit code 78 before it does anything. A variable
that nearly has one of these names is warned of.

Examples:
  rstuf config check
  rstuf config dump";

/// Check and show this command's own settings
#[derive(Debug, clap::Subcommand)]
#[command(after_help = ABOUT)]
pub(crate) enum ConfigCommand {
    /// Check file and environment; exit 78 with all mistakes
    #[command(after_help = "Examples:\n  rstuf config check")]
    Check,
    /// Show every setting, and who says so
    #[command(after_help = "Examples:\n  rstuf config dump\n  rstuf config dump --output json")]
    Dump,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: Option<String>,
    file_exists: bool,
    server: Setting<String>,
    output: Setting<&'static str>,
    warnings: Vec<String>,
}

/// Wrong settings never come here: they end every verb.
pub(crate) fn run(context: &Context, command: &ConfigCommand) -> Result<(), Error> {
    let Settings { server, output, file, file_exists, warnings } = context.settings.clone();
    let output = Setting { value: Format::as_str(output.value), source: output.source };
    let file = file.map(|file| file.display().to_string());
    let answer = Answer { file, file_exists, server, output, warnings };
    context.output.answer(&answer, |answer| match command {
        ConfigCommand::Check => format!("the settings are well formed ({})", file_words(answer)),
        ConfigCommand::Dump => dump(answer),
    })
}

fn file_words(answer: &Answer) -> String {
    match &answer.file {
        Some(file) if answer.file_exists => file.clone(),
        Some(file) => format!("there is no {file}, and need not be"),
        None => "no file".to_owned(),
    }
}

fn dump(answer: &Answer) -> String {
    let row = |name: &str, value: &str, source: String| [name.to_owned(), value.to_owned(), source];
    let rows = [
        row("server", &answer.server.value, answer.server.source.to_string()),
        row("output", answer.output.value, answer.output.source.to_string()),
    ];
    format!("file: {}\n{}", file_words(answer), table(["SETTING", "VALUE", "FROM"], rows))
}
