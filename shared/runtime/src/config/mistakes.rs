//! Collecting every mistake, and every effective value.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
};

use toml::Value;

use super::setting::{Kind, Setting};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In this file.
    File(PathBuf),
    /// In this variable.
    Environment(String),
    /// In this flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// The key; none where the whole file is at fault.
    pub key: Option<String>,
    /// The value, unless it is absent or a secret.
    pub value: Option<Value>,
    /// Where it was written, unless it was not.
    pub origin: Option<Origin>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            formatter.write_str(key)?;
        }
        match &self.value {
            // Whatever a string holds, the mistake stays on its line.
            Some(Value::String(text)) => write!(formatter, " = {text:?}")?,
            Some(value) => write!(formatter, " = {value}")?,
            None => {}
        }
        match (&self.key, &self.origin) {
            (Some(_), Some(origin)) => write!(formatter, " ({origin})")?,
            (None, Some(origin)) => write!(formatter, "{origin}")?,
            (_, None) => {}
        }
        write!(formatter, ": {}", self.message)
    }
}

/// A variable that nearly is one of ours.
#[derive(Debug)]
struct NearVariable {
    key: String,
    variable: String,
    meant: String,
    /// Whether a mistake tells of it.
    is_reported: bool,
}

impl fmt::Display for NearVariable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the environment has {}, which is not read: did you mean {}?", self.variable, self.meant)
    }
}

/// Collects the mistakes of a configuration, and its effective values.
///
/// Each of its methods answers the checked value, or none after noting a mistake. Call all of them before the first
/// `?`.
#[derive(Debug, Default)]
pub struct Mistakes {
    origins: HashMap<String, Origin>,
    found: Vec<Mistake>,
    /// Keys that are missing for a reason which is among those found.
    explained: HashSet<String>,
    /// Whether nothing is known of the file, so that whatever is missing may be in it.
    file_unread: bool,
    near: Vec<NearVariable>,
    effective: Vec<String>,
}

impl Mistakes {
    /// A string that must be there.
    pub fn required<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Option<Setting>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(value) = value else {
            self.missing(key);
            return None;
        };
        self.note(key, Kind::String, value.as_str(), true);
        self.parsed(key, value, Kind::String, parse)
    }

    /// A string that may be absent: `Some(None)` then.
    pub fn optional<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Option<Setting>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        let Some(value) = value else {
            self.effective.push(format!("# {key} is not set"));
            return Some(None);
        };
        self.note(key, Kind::String, value.as_str(), true);
        self.parsed(key, value, Kind::String, parse).map(Some)
    }

    /// A value with a default, which is written as a user would write it, and whose TOML type a file must use.
    pub fn or<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Option<Setting>,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let kind = Kind::of(default);
        self.note(key, kind, value.as_ref().map_or(default, Setting::as_str), value.is_some());
        match value {
            Some(value) => self.parsed(key, value, kind, parse),
            None => self.understood(key, default, kind, parse),
        }
    }

    /// A list of strings; absent is empty. Every wrong item is a mistake.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        values: &Option<Vec<Setting>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let values = values.as_deref().unwrap_or_default();
        let texts = values.iter().map(|it| toml::Value::from(it.as_str())).collect();
        self.effective.push(format!("{key} = {}{}", toml::Value::Array(texts), self.comment(key, !values.is_empty())));
        let parsed: Vec<_> = values.iter().map(|it| self.parsed(key, it, Kind::String, &parse)).collect();
        parsed.into_iter().collect()
    }

    /// As [`Mistakes::optional`], but neither a mistake nor `--dump-config` shows the value.
    pub fn secret<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Option<Setting>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        let Some(value) = value else {
            self.effective.push(format!("# {key} is not set"));
            return Some(None);
        };
        self.effective.push(format!("# {key} is set, and not shown"));
        if let Some(message) = self.mistyped(key, value, Kind::String) {
            self.push(key, message);
            return None;
        }
        match parse(value.as_str()) {
            Ok(value) => Some(Some(value)),
            Err(error) => {
                self.push(key, error.to_string());
                None
            }
        }
    }

    /// A mistake that no parser can see, such as two settings that exclude each other.
    pub fn push(&mut self, key: &str, message: impl Into<String>) {
        let origin = self.origins.get(key).cloned();
        self.push_mistake(Mistake { key: Some(key.to_owned()), value: None, origin, message: message.into() });
    }

    /// As [`Mistakes::push`], with the value.
    pub fn push_value(&mut self, key: &str, value: Value, message: impl Into<String>) {
        let origin = self.origins.get(key).cloned();
        let value = Some(value);
        self.push_mistake(Mistake { key: Some(key.to_owned()), value, origin, message: message.into() });
    }

    /// Whether no mistake was found yet.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Reports a missing value, unless it is missing for a reason that has been reported: one cause is one mistake.
    fn missing(&mut self, key: &str) {
        let reported = self.found.iter().any(|it| it.key.as_deref() == Some(key));
        if reported || self.file_unread || self.explained.contains(key) {
            return;
        }
        let near = self.near.iter_mut().find(|it| it.key == key);
        let hint = near.map(|it| {
            it.is_reported = true;
            format!("; {it}")
        });
        self.push(key, format!("missing, and there is no default{}", hint.unwrap_or_default()));
    }

    /// A mistake that is to be pushed says why `key` is missing.
    pub(super) fn explained(&mut self, key: &str) {
        self.explained.insert(key.to_owned());
    }

    /// The environment has `variable`, which nearly is `meant`, the one of `key`.
    pub(super) fn nearly(&mut self, key: &str, variable: String, meant: String) {
        self.near.push(NearVariable { key: key.to_owned(), variable, meant, is_reported: false });
    }

    /// What is no mistake, but probably not what was meant.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.near.iter().filter(|it| !it.is_reported).map(ToString::to_string).collect()
    }

    pub(super) fn push_unread(&mut self, path: &Path, message: impl Into<String>) {
        self.file_unread = true;
        let origin = Some(Origin::File(path.to_owned()));
        self.push_mistake(Mistake { key: None, value: None, origin, message: message.into() });
    }

    fn push_mistake(&mut self, mistake: Mistake) {
        self.found.push(mistake);
    }

    pub(super) fn came_from(&mut self, key: &str, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
    }

    pub(super) fn take_found(&mut self) -> Vec<Mistake> {
        std::mem::take(&mut self.found)
    }

    pub(super) fn dump(&self) -> String {
        self.effective.iter().map(|it| format!("{it}\n")).collect()
    }

    fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Setting,
        wanted: Kind,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if let Some(message) = self.mistyped(key, value, wanted) {
            self.push_value(key, value.kind().value(value.as_str()), message);
            return None;
        }
        self.understood(key, value.as_str(), wanted, parse)
    }

    /// A file has types, so a value of another one is a slip there; in the environment and in flags all is text.
    fn mistyped(&self, key: &str, value: &Setting, wanted: Kind) -> Option<String> {
        let is_typed = matches!(self.origins.get(key), Some(Origin::File(_)));
        (is_typed && value.kind() != wanted).then(|| format!("{}, allowed is {wanted}", value.kind()))
    }

    fn understood<T, E: fmt::Display>(
        &mut self,
        key: &str,
        text: &str,
        kind: Kind,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text).map_err(|error| self.push_value(key, kind.value(text), error.to_string())).ok()
    }

    fn note(&mut self, key: &str, kind: Kind, text: &str, given: bool) {
        self.effective.push(format!("{key} = {}{}", kind.value(text), self.comment(key, given)));
    }

    fn comment(&self, key: &str, given: bool) -> String {
        match self.origins.get(key) {
            Some(origin) if given => format!(" # {origin}"),
            _ if given => String::new(),
            _ => " # default".to_owned(),
        }
    }
}
