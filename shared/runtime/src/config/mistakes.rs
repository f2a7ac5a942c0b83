//! Collecting every mistake, and every effective value.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::setting::Setting;

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
            Origin::File(path) => write!(formatter, "{}", path.display()),
            Origin::Environment(name) | Origin::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key; none where the whole file is at fault.
    pub key: Option<String>,
    /// The value, unless it is absent or a secret.
    pub value: Option<String>,
    /// Where it was written, unless it was not.
    pub origin: Option<Origin>,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl Mistake {
    pub(super) fn about_file(path: &Path, message: impl Into<String>) -> Mistake {
        Mistake { key: None, value: None, origin: Some(Origin::File(path.to_owned())), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            formatter.write_str(key)?;
        }
        if let Some(value) = &self.value {
            write!(formatter, " = {value:?}")?;
        }
        match (&self.key, &self.origin) {
            (Some(_), Some(origin)) => write!(formatter, " ({origin})")?,
            (None, Some(origin)) => write!(formatter, "{origin}")?,
            (_, None) => {}
        }
        write!(formatter, ": {}", self.message)
    }
}

/// Collects the mistakes of a configuration, and its effective values.
///
/// Each of its methods answers the checked value, or none after noting a mistake. Call all of them before the first `?`.
#[derive(Debug, Default)]
pub struct Mistakes {
    origins: HashMap<String, Origin>,
    found: Vec<Mistake>,
    effective: Vec<String>,
}

impl Mistakes {
    /// A value that must be there.
    pub fn required<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Option<Setting>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(value) = value else {
            // One that is there, but could not be read, has been reported.
            if !self.found.iter().any(|it| it.key.as_deref() == Some(key)) {
                self.push(key, "missing, and there is no default");
            }
            return None;
        };
        self.note(key, value.as_str(), true);
        self.parsed(key, value.as_str(), parse)
    }

    /// A value that may be absent: `Some(None)` then.
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
        self.note(key, value.as_str(), true);
        self.parsed(key, value.as_str(), parse).map(Some)
    }

    /// A value with a default, which is written as a user would write it.
    pub fn or<T, E: fmt::Display>(
        &mut self,
        key: &str,
        value: &Option<Setting>,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = value.as_ref().map_or(default, Setting::as_str);
        self.note(key, text, value.is_some());
        self.parsed(key, text, parse)
    }

    /// A list; absent is empty. Every wrong item is a mistake.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        values: &Option<Vec<Setting>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let values = values.as_deref().unwrap_or_default();
        let texts = values.iter().map(|it| toml::Value::from(it.as_str())).collect();
        self.effective.push(format!("{key} = {}{}", toml::Value::Array(texts), self.comment(key, !values.is_empty())));
        let parsed: Vec<_> = values.iter().map(|it| self.parsed(key, it.as_str(), &parse)).collect();
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
    pub fn push_value(&mut self, key: &str, value: &str, message: impl Into<String>) {
        let origin = self.origins.get(key).cloned();
        let value = Some(value.to_owned());
        self.push_mistake(Mistake { key: Some(key.to_owned()), value, origin, message: message.into() });
    }

    /// Whether no mistake was found yet.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn push_mistake(&mut self, mistake: Mistake) {
        self.found.push(mistake);
    }

    pub(super) fn came_from(&mut self, key: &str, origin: Origin) {
        self.origins.insert(key.to_owned(), origin);
    }

    pub(super) fn into_found(self) -> Vec<Mistake> {
        self.found
    }

    pub(super) fn dump(&self) -> String {
        self.effective.iter().map(|it| format!("{it}\n")).collect()
    }

    fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text).map_err(|error| self.push_value(key, text, error.to_string())).ok()
    }

    fn note(&mut self, key: &str, text: &str, given: bool) {
        let value = match (text.parse::<i64>(), text.parse::<bool>()) {
            (Ok(number), _) => toml::Value::from(number),
            (_, Ok(truth)) => toml::Value::from(truth),
            _ => toml::Value::from(text),
        };
        self.effective.push(format!("{key} = {value}{}", self.comment(key, given)));
    }

    fn comment(&self, key: &str, given: bool) -> String {
        match self.origins.get(key) {
            Some(origin) if given => format!(" # {origin}"),
            _ if given => String::new(),
            _ => " # default".to_owned(),
        }
    }
}
