//! File, environment and flags, laid over each other key by key.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{ArgAction, ArgMatches, Command, parser::ValueSource};
use toml::{Table, Value};

use super::{
    mistakes::{Mistakes, Origin},
    near::{near_variables, nearest},
    raw::Raw,
};

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
    environment: &HashMap<OsString, OsString>,
    mistakes: &mut Mistakes,
) -> R {
    let variable = |name: &str| environment.get(OsStr::new(name)).cloned();
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
    note_near_variables::<R>(service, environment, mistakes);
    let mut raw = Table::new();
    for (key, value) in table {
        match deserialize::<R>(&key, &value) {
            Ok(_) => drop(raw.insert(key, value)),
            Err(message) => mistakes.push_value(&key, value, message),
        }
    }
    // Each key was understood alone, so they are together.
    raw.try_into().unwrap_or_default()
}

fn note_near_variables<R: Raw>(service: &str, environment: &HashMap<OsString, OsString>, mistakes: &mut Mistakes) {
    let keys: Vec<_> = keys::<R>().into_iter().chain(["config".to_owned()]).collect();
    let known: Vec<_> = keys.iter().map(|key| variable_name(service, key)).collect();
    // One that lacks the service is of no use to any; RSTUF_CONFIG is the command's own.
    for key in keys.iter().filter(|key| *key != "config") {
        let short = format!("RSTUF_{}", key.to_uppercase());
        if environment.contains_key(OsStr::new(&short)) {
            mistakes.nearly(key, short, variable_name(service, key));
        }
    }
    let names = environment.keys().filter_map(|name| name.to_str().map(str::to_owned));
    for (name, meant) in near_variables(names, &known) {
        if let Some(at) = known.iter().position(|it| *it == meant) {
            mistakes.nearly(&keys[at], name, meant);
        }
    }
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
            return mistakes.push_unread(path, message);
        }
    };
    let parsed = match text.parse::<Table>() {
        Ok(parsed) => parsed,
        Err(error) => return mistakes.push_unread(path, error.to_string().trim_end()),
    };
    for (key, value) in parsed {
        mistakes.came_from(&key, Origin::File(path.to_owned()));
        if known::<R>(&key, &value) {
            table.insert(key, value);
        } else {
            let keys = keys::<R>();
            let meant = nearest(&key, &keys);
            let message = match meant {
                Some(meant) => format!("unknown key; did you mean {meant}?"),
                None => format!("unknown key, allowed are {}", keys.join(", ")),
            };
            meant.inspect(|meant| mistakes.explained(meant));
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
