//! File, environment and flags, laid over each other key by key.

use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use super::mistakes::{Mistake, Mistakes, Origin};
use super::raw::Raw;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// `RSTUF_<SERVICE>_<KEY>`.
pub(super) fn variable_name(service: &str, key: &str) -> String {
    format!("RSTUF_{service}_{key}").to_uppercase().replace('-', "_")
}

/// Reads all layers. What cannot be understood is a mistake, and left out.
pub(super) fn read<R: Raw>(
    command: &Command,
    service: &str,
    flags: &ArgMatches,
    variable: &dyn Fn(&str) -> Option<OsString>,
    mistakes: &mut Mistakes,
) -> R {
    let mut table = Table::new();
    let given = flags.get_one::<String>("config").map(|it| (it.into(), "--config".to_owned()));
    let named = variable_name(service, "config");
    let file = given.or_else(|| variable(&named).map(|it| (it, named)));
    if let Some((path, named_by)) = file {
        read_file::<R>(Path::new(&path), &named_by, &mut table, mistakes);
    }
    for arg in command.get_arguments().filter(|it| !matches!(it.get_id().as_str(), "config" | "dump_config")) {
        let key = arg.get_id().as_str();
        let many = matches!(arg.get_action(), ArgAction::Append);
        let name = variable_name(service, key);
        if let Some(value) = variable(&name) {
            set(key, many, Origin::Environment(name), vec![value], &mut table, mistakes);
        }
        if flags.value_source(key) == Some(ValueSource::CommandLine) {
            let values = flags.get_raw(key).into_iter().flatten().map(ToOwned::to_owned).collect();
            let flag = format!("--{}", arg.get_long().unwrap_or(key));
            set(key, many, Origin::Flag(flag), values, &mut table, mistakes);
        }
    }
    let mut raw = Table::new();
    for (key, value) in table {
        match deserialize::<R>(&key, &value) {
            Ok(_) => drop(raw.insert(key, value)),
            Err(message) => mistakes.push_value(&key, &value.to_string(), message),
        }
    }
    // Each key was understood alone, so they are together.
    raw.try_into().unwrap_or_default()
}

fn set(key: &str, many: bool, origin: Origin, values: Vec<OsString>, table: &mut Table, mistakes: &mut Mistakes) {
    mistakes.came_from(key, origin);
    let texts: Result<Vec<_>, _> = values.into_iter().map(OsString::into_string).collect();
    let Ok(texts) = texts else {
        table.remove(key);
        return mistakes.push(key, "the value is not UTF-8");
    };
    let value = if many {
        let items = texts.iter().flat_map(|it| it.split(',')).map(str::trim).filter(|it| !it.is_empty());
        Value::Array(items.map(Value::from).collect())
    } else {
        Value::from(texts.concat())
    };
    table.insert(key.to_owned(), value);
}

fn read_file<R: Raw>(path: &Path, named_by: &str, table: &mut Table, mistakes: &mut Mistakes) {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read the file that {named_by} names: {error}");
            return mistakes.push_mistake(Mistake::about_file(path, message));
        }
    };
    let parsed = match text.parse::<Table>() {
        Ok(parsed) => parsed,
        Err(error) => return mistakes.push_mistake(Mistake::about_file(path, error.to_string().trim_end())),
    };
    for (key, value) in parsed {
        mistakes.came_from(&key, Origin::File(path.to_owned()));
        if known::<R>(&key, &value) {
            table.insert(key, value);
        } else {
            let message = match nearest::<R>(&key) {
                Some(nearest) => format!("unknown key; did you mean {nearest}?"),
                None => format!("unknown key, allowed are {}", keys::<R>().join(", ")),
            };
            mistakes.push(&key, message);
        }
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has {bytes} bytes, allowed are {FILE_BYTES_MAX}")));
    }
    std::fs::read_to_string(path)
}

fn deserialize<R: Raw>(key: &str, value: &Value) -> Result<R, String> {
    let table = Table::from_iter([(key.to_owned(), value.clone())]);
    table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// A key is known if it is a flag, or if it leaves a trace in the raw settings: tables of a file have no flag.
fn known<R: Raw>(key: &str, value: &Value) -> bool {
    keys::<R>().iter().any(|it| it == key)
        || deserialize::<R>(key, value).map_or(true, |raw| Table::try_from(raw).is_ok_and(|it| !it.is_empty()))
}

fn keys<R: Raw>() -> Vec<String> {
    R::augment_args(Command::new("")).get_arguments().map(|it| it.get_id().to_string()).collect()
}

/// The key that was probably meant: one that differs in case or separators only, or in at most two letters.
fn nearest<R: Raw>(key: &str) -> Option<String> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let distance = |it: &str| strsim::levenshtein(&plain(it), &plain(key));
    keys::<R>().into_iter().map(|it| (distance(&it), it)).min().filter(|it| it.0 <= 2).map(|it| it.1)
}
