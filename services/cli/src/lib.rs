//! The operator's command, `rstuf`: a plain client of the coordinator, with one module a verb; and `rstuf dev`, which
//! runs the whole system in one process.
//!
//! Every verb ends in one of the exit codes that `rstuf --help` lists. From bottom to top; a module uses only those
//! before it in this list:
//!
//! 1. `error`: why a command ended early, and with which exit code
//! 2. `output`: the only place that writes to the terminal
//! 3. `settings`: file < environment < flags
//! 4. `view`: answers as JSON documents
//! 5. `page`: answers that come in pages
//! 6. `client`: the coordinator; the only module that knows messages and statuses of gRPC
//! 7. `ask`: questions to whoever sits at the terminal
//! 8. `context`: what every verb gets
//! 9. `wait`: until a task is finished
//! 10. `published`: what the newest publication holds
//! 11. `collect`: from paths to files and what they are called as artifacts
//! 12. `hash`: from files to changes
//! 13. `artifacts_dir`: from where a mirror serves artifacts
//! 14. `upload`: changes handed over in several messages
//! 15. `submit`: changes handed over, and what became of them
//! 16. `key_file`: keys of people, and their passphrases
//! 17. `verbs`: one module a verb, or a group of verbs
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod artifacts_dir;
mod ask;
mod client;
mod collect;
mod context;
mod error;
mod hash;
mod key_file;
mod output;
mod page;
mod published;
mod settings;
mod submit;
mod upload;
mod verbs;
mod view;
mod wait;

use std::process::ExitCode;

use clap::{
    CommandFactory as _, Parser,
    error::{ContextKind, ContextValue},
};
use rstuf_runtime::Clock;

use crate::{
    context::Context,
    error::{Error, Exit},
    output::{Format, Output},
    settings::{Flags, Settings},
    verbs::Verb,
};

const AFTER_HELP: &str = "\
Exit codes:
   0  done
   1  failed or refused: the same again will fail again
   2  the command line is wrong
  69  no coordinator answers, and nothing took effect
  75  not now, or the outcome is unknown: try the same again (with the --request-id that is shown);
      or --wait-timeout was up: the task that is shown goes on, follow it with `rstuf task watch`
  78  a configuration file or an environment variable is wrong

First steps, on one machine:
  rstuf dev                                  # in one terminal: everything in one process
  rstuf artifact add --artifacts-dir rstuf-data/artifacts README.md     # in another
  rstuf status

With --json every verb writes one JSON document (`task watch`: one a line) to standard output, and errors as JSON to
standard error. Settings can also stand in a file or the environment: see `rstuf config --help`.";

/// Under which heading the help lists what every verb understands.
const EVERYWHERE: &str = "With every verb";

/// Operate a TUF repository service: artifacts in, a signed repository out
#[derive(Debug, Parser)]
#[command(name = "rstuf", version, after_help = AFTER_HELP, max_term_width = 120)]
struct Cli {
    /// The coordinator, http://HOST:PORT [env: RSTUF_SERVER] [default: http://127.0.0.1:50051]
    #[arg(long, global = true, value_name = "URL", help_heading = EVERYWHERE)]
    server: Option<String>,
    /// For whom answers are written: human, or json for programs [env: RSTUF_OUTPUT] [default: human]
    #[arg(short, long, global = true, value_name = "FORMAT", hide_possible_values = true, help_heading = EVERYWHERE)]
    output: Option<Format>,
    /// The same as --output json
    #[arg(long, global = true, conflicts_with = "output", help_heading = EVERYWHERE)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// The whole command: reads the process's arguments and environment, and answers its exit code.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return unparsed(error, &arguments).into(),
    };
    let flags = Flags { server: cli.server.clone(), output: cli.output, json: cli.json };
    let env = |name: &str| std::env::var(name).ok();
    let asked = Output::new(format_asked(&arguments));
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let outcome = Settings::load(&flags, env, names).map_err(|error| (asked, error)).and_then(|settings| {
        let output = Output::new(settings.output.value);
        settings.warnings.iter().for_each(|warning| output.note(&format!("warning: {warning}")));
        let asker = ask::asker(settings.output.value);
        let context = Context { settings, output, clock: Clock::system(), asker };
        run(&context, cli.verb).map_err(|error| (output, error))
    });
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err((output, error)) => {
            output.error(&error);
            error.exit.into()
        }
    }
}

fn run(context: &Context, verb: Verb) -> Result<(), Error> {
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| Error::failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(Box::pin(verbs::run(context, verb, Cli::command())));
    // Whoever reads an input that does not end would be waited for.
    runtime.shutdown_background();
    outcome
}

/// A command line that clap refused, or a plea for help.
fn unparsed(mut error: clap::Error, arguments: &[std::ffi::OsString]) -> Exit {
    if !error.use_stderr() {
        // Nothing can be done about a standard output that can't be written to.
        let _ = error.print();
        return Exit::Done;
    }
    forget_values(&mut error);
    suggest_groups(&mut error);
    match format_asked(arguments) {
        Format::Human => {
            let _ = error.print();
        }
        Format::Json => {
            let text = error.render().to_string();
            let message = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            Output::new(Format::Json).error(&Error::usage(message));
        }
    }
    Exit::Usage
}

/// Whoever mistypes a flag does not mean a file of that name: the tip to pass it as a value goes.
fn forget_values(error: &mut clap::Error) {
    if let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) {
        let others: Vec<_> = tips.into_iter().filter(|tip| !tip.to_string().contains(" as a value, use ")).collect();
        if !others.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(others));
        }
    }
}

/// Whoever leaves out the group of a verb, or takes another, is told where verbs of that name are.
fn suggest_groups(error: &mut clap::Error) {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return };
    let cli = Cli::command();
    let verbs = cli.get_subcommands().flat_map(|group| group.get_subcommands().map(move |verb| (group, verb)));
    let named = verbs.filter(|(_, verb)| verb.get_name() == word || verb.get_all_aliases().any(|alias| alias == word));
    let named = named.map(|(group, verb)| format!("`rstuf {} {}`", group.get_name(), verb.get_name()));
    let alone = cli
        .get_subcommands()
        .filter(|verb| verb.get_name() == word)
        .map(|verb| format!("`rstuf {word}`", word = verb.get_name()));
    let named: Vec<_> = alone.chain(named).collect();
    if !named.is_empty() {
        let tip = format!("did you mean {}?", named.join(" or "));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// The format that the caller asked for, where the settings can't be read.
fn format_asked(arguments: &[std::ffi::OsString]) -> Format {
    let mut words = arguments.iter().filter_map(|argument| argument.to_str());
    let mut flag = None;
    while let Some(word) = words.next() {
        let value =
            word.strip_prefix("--output").or_else(|| word.strip_prefix("-o").filter(|_| !word.starts_with("--")));
        flag = match value {
            _ if word == "--json" => Some("json"),
            Some("") => words.next(),
            Some(value) => Some(value.strip_prefix('=').unwrap_or(value)),
            None => continue,
        };
    }
    let said = flag.map(str::to_owned).or_else(|| std::env::var("RSTUF_OUTPUT").ok());
    said.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Whoever asks for help with a verb gets an example.
    #[test]
    fn every_verb_has_examples_in_its_help() {
        fn check(command: &clap::Command, name: &str) {
            for verb in command.get_subcommands() {
                let name = format!("{name} {}", verb.get_name());
                if verb.get_subcommands().next().is_none() {
                    let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Examples:\n") && help.contains(&name), "{name}: {help}");
                }
                check(verb, &name);
            }
        }
        check(&Cli::command(), "rstuf");
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in [Exit::Done, Exit::Failed, Exit::Usage, Exit::Unreachable, Exit::TryAgain, Exit::Config] {
            assert!(help.contains(&format!("\n  {:>2}  ", exit as u8)), "{exit:?} in {help}");
        }
    }

    #[test]
    fn errors_are_json_even_where_the_command_line_is_wrong() {
        let format = |words: &[&str]| format_asked(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(format(&["rstuf", "--output", "json", "nonsense"]), Format::Json);
        assert_eq!(format(&["rstuf", "nonsense", "--output=json"]), Format::Json);
        assert_eq!(format(&["rstuf", "nonsense", "--output=human"]), Format::Human);
        assert_eq!(format(&["rstuf", "nonsense"]), Format::Human);
        for words in [&["--json"][..], &["-o", "json"], &["-ojson"], &["-o=json"]] {
            assert_eq!(format(&[&["rstuf", "nonsense"], words].concat()), Format::Json, "{words:?}");
        }
    }
}
