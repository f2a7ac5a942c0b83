//! Configuration: file < environment < flags, checked as a whole before anything starts.
//!
//! A service describes its settings once, as a raw struct of optional values from which come the flags
//! (`--admin-listen`), the keys of the TOML file (`admin_listen`) and the environment's variables
//! (`RSTUF_<SERVICE>_ADMIN_LISTEN`). Its [`Raw::check`] turns that into a checked configuration, and every mistake is
//! reported at once. Keys that nobody knows are refused in files only: Kubernetes puts variables such as
//! `RSTUF_TARGETS_PORT=tcp://...` into the environment for every Service, and for that reason no key of ours is `port`
//! or ends in `_port`. A variable that nearly is one of ours is warned of.
//!
//! ```
//! use rstuf_runtime::config::{self, Common, CommonRaw, Defaults, Mistakes, Process, Raw, Setting, parse};
//!
//! /// The settings of the coordinator.
//! #[derive(Debug, Default, Clone, clap::Args, serde::Serialize, serde::Deserialize)]
//! pub struct CoordinatorRaw {
//!     #[command(flatten)]
//!     #[serde(flatten)]
//!     common: CommonRaw,
//!     /// Submissions that may wait for a batch
//!     #[arg(long, value_name = "COUNT")]
//!     queue_submissions_max: Option<Setting>,
//! }
//!
//! pub struct Config {
//!     pub common: Common,
//!     pub queue_submissions_max: usize,
//! }
//!
//! impl Raw for CoordinatorRaw {
//!     const SERVICE: &'static str = "coordinator";
//!     type Config = Config;
//!
//!     fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
//!         const DEFAULTS: Defaults =
//!             Defaults { listen: "127.0.0.1:50051", admin_listen: "127.0.0.1:9101", requests_max: "128" };
//!         // Check everything first, and only then use `?`: so every mistake is found.
//!         let common = self.common.check(mistakes, DEFAULTS);
//!         let allowed = parse::integer(1..=65_536);
//!         let queue = mistakes.or("queue_submissions_max", &self.queue_submissions_max, "1024", allowed);
//!         Some(Config { common: common?, queue_submissions_max: queue? })
//!     }
//!
//!     fn process(config: &Config) -> &Process {
//!         &config.common.process
//!     }
//! }
//!
//! let args = ["rstuf-coordinator", "--state-dir", "/var/lib/rstuf/coordinator"];
//! let read = config::invocation::<CoordinatorRaw>(args, [], |warning| eprintln!("{warning}"))?;
//! let config::Invocation::Run(config) = read else { unreachable!() };
//! assert_eq!(config.queue_submissions_max, 1_024);
//! # Ok::<(), config::Error>(())
//! ```

mod common;
mod layers;
mod mistakes;
mod near;
pub mod parse;
mod raw;
mod setting;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

pub use common::{Common, CommonRaw, Defaults, Process, ProcessRaw, peer_percent_max};
pub use mistakes::{Mistake, Mistakes, Origin};
pub use near::near_variables;
pub use raw::Raw;
pub use setting::Setting;

/// The subcommand that every service has.
const CONFIG: &str = "config";

/// What the caller of a binary wants.
#[derive(Debug)]
pub enum Invocation<C> {
    /// Run with this configuration.
    Run(C),
    /// `config check`: it was fine.
    Check,
    /// `--dump-config`: the effective configuration as TOML, without secrets.
    Dump(String),
    /// One of the subcommands that were given, by its name, with this configuration.
    Verb(String, C),
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong, or asks for help.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// Settings are wrong: all of them are listed.
    #[error("{}", list(.mistakes))]
    Invalid {
        /// Every mistake.
        mistakes: Vec<Mistake>,
    },
}

fn list(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(|it| format!("  {it}")).collect();
    format!("the configuration has {} mistake(s):\n{}", mistakes.len(), lines.join("\n"))
}

/// Reads a command line (the program's name first), the environment, and the file that one of them names. `warn` is
/// told of what is no mistake, but probably not what was meant.
///
/// # Errors
/// See [`Error`].
pub fn invocation<R: Raw>(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    warn: impl FnMut(String),
) -> Result<Invocation<R::Config>, Error> {
    invocation_with::<R>([], args, environment, warn)
}

/// As [`invocation`], of a binary that has these subcommands besides.
///
/// # Errors
/// See [`Error`].
pub fn invocation_with<R: Raw>(
    verbs: impl IntoIterator<Item = Command>,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    warn: impl FnMut(String),
) -> Result<Invocation<R::Config>, Error> {
    let matches = command::<R>().subcommands(verbs).try_get_matches_from(args)?;
    let (verb, settings) = match matches.subcommand() {
        Some((CONFIG, config)) => (Some(CONFIG), config.subcommand().map_or(config, |(_, check)| check)),
        Some((verb, settings)) => (Some(verb), settings),
        None => (None, &matches),
    };
    let environment = environment.into_iter().collect();
    let mut mistakes = Mistakes::default();
    let raw: R = layers::read(&command::<R>(), R::SERVICE, settings, &environment, &mut mistakes);
    let config = finish(&raw, &mut mistakes);
    mistakes.warnings().into_iter().for_each(warn);
    match config {
        Err(error) => Err(error),
        Ok(_) if verb == Some(CONFIG) => Ok(Invocation::Check),
        Ok((_, dump)) if settings.get_flag("dump_config") => Ok(Invocation::Dump(dump)),
        Ok((config, _)) => Ok(match verb {
            Some(verb) => Invocation::Verb(verb.to_owned(), config),
            None => Invocation::Run(config),
        }),
    }
}

/// Checks settings that were made in code, as a process with several services does.
///
/// # Errors
/// [`Error::Invalid`].
pub fn checked<R: Raw>(raw: &R) -> Result<R::Config, Error> {
    finish(raw, &mut Mistakes::default()).map(|(config, _)| config)
}

fn finish<R: Raw>(raw: &R, mistakes: &mut Mistakes) -> Result<(R::Config, String), Error> {
    match raw.check(mistakes) {
        Some(config) if mistakes.is_empty() => Ok((config, mistakes.dump())),
        _ => Err(Error::Invalid { mistakes: mistakes.take_found() }),
    }
}

/// The command line of a service; its flags are also those of `config check`.
pub fn command<R: Raw>() -> Command {
    let command = Command::new(format!("rstuf-{}", R::SERVICE)).version(env!("CARGO_PKG_VERSION"));
    let command = R::augment_args(command.next_help_heading("Settings"));
    let command = command.mut_args(|arg| {
        let variable = layers::variable_name(R::SERVICE, arg.get_id().as_str());
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.global(true).help(format!("{help} [env: {variable}]"))
    });
    let file = Arg::new("config").long("config").value_name("FILE").global(true);
    let dump = Arg::new("dump_config").long("dump-config").action(ArgAction::SetTrue);
    let check =
        Command::new("check").about("Check the configuration, report every mistake, and exit with 78 if there is one");
    command
        .next_help_heading(None)
        .arg(file.help(format!("The configuration file, TOML [env: {}]", layers::variable_name(R::SERVICE, "config"))))
        .arg(dump.global(true).help("Print the effective configuration as TOML, and exit"))
        .subcommand(
            Command::new(CONFIG).about("Work with the configuration").subcommand_required(true).subcommand(check),
        )
}
