//! Where the command finds its settings: file < environment < flags.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Serialize;

use crate::{error::Error, output::Format};

/// Where the coordinator listens unless told otherwise.
pub(crate) const SERVER_DEFAULT: &str = "http://127.0.0.1:50051";

/// The variables that are read.
const VARIABLES: [&str; 3] = ["RSTUF_CONFIG", "RSTUF_SERVER", "RSTUF_OUTPUT"];

/// Variables that are not read, but nearly are one of those that are: a warning for each.
fn near_misses(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let near = rstuf_runtime::config::near_variables(names, &VARIABLES.map(str::to_owned));
    near.into_iter().map(|(name, meant)| format!("{name} is not read: did you mean {meant}?")).collect()
}

/// A value, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    /// Who said so.
    pub(crate) source: Source,
}

/// Who chose a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub(crate) enum Source {
    /// Nobody.
    Default,
    File(PathBuf),
    Environment(&'static str),
    Flag(&'static str),
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// What every verb needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The coordinator, `http://HOST:PORT`.
    pub(crate) server: Setting<String>,
    /// For whom answers are written.
    pub(crate) output: Setting<Format>,
    /// The file that was looked for; it need not exist.
    pub(crate) file: Option<PathBuf>,
    /// Whether it exists.
    pub(crate) file_exists: bool,
    /// Variables that are not read, but probably should be.
    pub(crate) warnings: Vec<String>,
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) server: Option<String>,
    pub(crate) output: Option<Format>,
    pub(crate) json: bool,
}

/// One text from one place.
type Said = Option<(String, Source)>;

impl Settings {
    /// Puts the three sources together; `env` looks up environment variables (an empty one counts as absent), `names`
    /// are those of all.
    ///
    /// # Errors
    /// All mistakes of file and environment at once, as [`crate::error::Exit::Config`]; a wrong flag alone is
    /// [`crate::error::Exit::Usage`].
    pub(crate) fn load(
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Self, Error> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let mut mistakes = Vec::new();
        let (file, named) = config_file(&env);
        let entries = match &file {
            Some(path) => read_file(path, named, &mut mistakes),
            None => Vec::new(),
        };
        let said = |key: &str, variable: &'static str| -> Said {
            let in_file = || entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            env(variable)
                .map(|value| (value, Source::Environment(variable)))
                .or_else(|| in_file().map(|value| (value, Source::File(file.clone().unwrap_or_default()))))
        };
        let (format, flag) = if flags.json { (Some(Format::Json), "--json") } else { (flags.output, "--output") };
        let output = choose(format, flag, said("output", "RSTUF_OUTPUT"), Format::default(), &mut mistakes);
        let server = said("server", "RSTUF_SERVER");
        let server = choose(flags.server.clone().map(Server), "--server", server, Server::default(), &mut mistakes);
        let file_exists = file.as_deref().is_some_and(Path::exists);
        if mistakes.is_empty() {
            check_server(&server.value.0).map_err(|problem| Error::usage(format!("--server: {problem}")))?;
            let server = Setting { value: server.value.0, source: server.source };
            let warnings = near_misses(names);
            return Ok(Self { server, output, file, file_exists, warnings });
        }
        Err(Error::config(mistakes.join("\n")).next("see `rstuf config --help` for the file and the variables"))
    }
}

/// An address, checked where it comes from text.
#[derive(Clone)]
struct Server(String);

impl Default for Server {
    fn default() -> Self {
        Self(SERVER_DEFAULT.to_owned())
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_server(text).map(|()| Self(text.to_owned()))
    }
}

fn check_server(text: &str) -> Result<(), String> {
    let wrong = |error: rstuf_runtime::client::Error| {
        format!("{text:?} is no coordinator's address ({}), allowed: http://HOST:PORT", error.reason)
    };
    rstuf_runtime::client::check(text).map_err(wrong)
}

/// Takes the flag, else what was said elsewhere, else the default. What was said elsewhere is checked even where a flag
/// overrules it, so that a mistake does not wait for the day without the flag.
fn choose<T: FromStr<Err = String>>(
    flag: Option<T>,
    flag_name: &'static str,
    said: Said,
    default: T,
    mistakes: &mut Vec<String>,
) -> Setting<T> {
    let said = said.and_then(|(text, source)| match text.parse() {
        Ok(value) => Some(Setting { value, source }),
        Err(problem) => {
            mistakes.push(format!("{source}: {problem}"));
            None
        }
    });
    match flag {
        Some(value) => Setting { value, source: Source::Flag(flag_name) },
        None => said.unwrap_or(Setting { value: default, source: Source::Default }),
    }
}

/// The file to read, and whether somebody named it, so that it must exist.
fn config_file(env: &impl Fn(&str) -> Option<String>) -> (Option<PathBuf>, bool) {
    if let Some(path) = env("RSTUF_CONFIG") {
        return (Some(PathBuf::from(path)), true);
    }
    // A relative XDG_CONFIG_HOME is to be ignored, says the XDG base directory specification.
    let xdg = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = xdg.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")));
    (base.map(|base| base.join("rstuf/config.toml")), false)
}

/// The file's entries, as text; keys that nobody knows are mistakes.
fn read_file(path: &Path, must_exist: bool, mistakes: &mut Vec<String>) -> Vec<(String, String)> {
    let place = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => return Vec::new(),
        Err(error) => {
            mistakes.push(format!("{place}: cannot be read: {error}"));
            return Vec::new();
        }
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            mistakes.push(format!("{place}: {}", error.to_string().trim_end()));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for (key, value) in table {
        match value {
            _ if !matches!(key.as_str(), "server" | "output") => {
                mistakes.push(format!("{place}: unknown key {key:?}, allowed: server, output"));
            }
            toml::Value::String(text) => entries.push((key, text)),
            other => mistakes.push(format!("{place}: {key} is {other}, allowed: a string")),
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn load(flags: &Flags, variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::load(flags, value, variables.iter().map(|(name, _)| (*name).to_owned()))
    }

    #[test]
    fn flags_overrule_the_environment_which_overrules_the_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("rstuf")).unwrap();
        let file = home.path().join("rstuf/config.toml");
        std::fs::write(&file, "server = \"http://file:1\"\noutput = \"json\"\n").unwrap();
        let xdg = ("XDG_CONFIG_HOME", home.path().to_str().unwrap());

        let from_file = load(&Flags::default(), &[xdg, ("RSTUF_SERVER", "")]).unwrap();
        assert_eq!(from_file.server, Setting { value: "http://file:1".into(), source: Source::File(file) });
        assert_eq!(from_file.output.value, Format::Json);
        let environment = [xdg, ("RSTUF_SERVER", "http://env:2")];
        assert_eq!(load(&Flags::default(), &environment).unwrap().server.value, "http://env:2");
        let flags = Flags { server: Some("http://flag:3".into()), output: Some(Format::Human), json: false };
        let from_flags = load(&flags, &environment).unwrap();
        assert_eq!(from_flags.server.value, "http://flag:3");
        assert_eq!(from_flags.output, Setting { value: Format::Human, source: Source::Flag("--output") });
        let json = load(&Flags { json: true, ..Flags::default() }, &environment).unwrap();
        assert_eq!(json.output, Setting { value: Format::Json, source: Source::Flag("--json") });
    }

    #[test]
    fn a_variable_that_nearly_is_one_of_ours_is_noticed() {
        let names = ["RSTUF_SERVR", "RSTUF_OUTPUT", "RSTUF_COORDINATOR_PORT", "RSTUF_TARGETS_LISTEN"];
        let settings = load(&Flags::default(), &names.map(|name| (name, ""))).unwrap();
        assert_eq!(settings.warnings, ["RSTUF_SERVR is not read: did you mean RSTUF_SERVER?"]);
    }

    #[test]
    fn nothing_said_means_the_local_default() {
        let nothing = load(&Flags::default(), &[]).unwrap();
        assert_eq!(nothing.server, Setting { value: SERVER_DEFAULT.into(), source: Source::Default });
        let home = tempfile::tempdir().unwrap();
        let absent = load(&Flags::default(), &[("HOME", home.path().to_str().unwrap())]).unwrap();
        assert_eq!(absent.file, Some(home.path().join(".config/rstuf/config.toml")));
        assert!(!absent.file_exists);
    }

    #[test]
    fn all_mistakes_are_reported_at_once_even_under_a_flag() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "servr = \"x\"\ncolour = 1\noutput = 7\n").unwrap();
        let variables = [("RSTUF_CONFIG", file.to_str().unwrap()), ("RSTUF_SERVER", "https://a")];
        let flags = Flags { server: Some("http://ok:1".into()), output: None, json: false };
        let error = load(&flags, &variables).unwrap_err();
        assert_eq!(error.exit, Exit::Config);
        for part in ["\"servr\"", "\"colour\"", "output is 7", "RSTUF_SERVER"] {
            assert!(error.message.contains(part), "{part} in {}", error.message);
        }
    }

    #[test]
    fn a_named_file_must_exist_and_a_wrong_flag_is_a_usage_error() {
        let missing = load(&Flags::default(), &[("RSTUF_CONFIG", "/nowhere/rstuf.toml")]).unwrap_err();
        assert_eq!(missing.exit, Exit::Config);
        let flags = Flags { server: Some("ftp://x".into()), output: None, json: false };
        assert_eq!(load(&flags, &[]).unwrap_err().exit, Exit::Usage);
    }
}
