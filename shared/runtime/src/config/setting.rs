//! A value as it is written.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error, Visitor},
};
use toml::Value;

/// What a value is in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Integer,
    Boolean,
}

impl Kind {
    /// That of a value which a user would write like this.
    pub(super) fn of(text: &str) -> Self {
        match (text.parse::<i64>(), text.parse::<bool>()) {
            (Ok(_), _) => Self::Integer,
            (_, Ok(_)) => Self::Boolean,
            _ => Self::String,
        }
    }

    /// The text as TOML writes it; what can't be a value of this kind is shown as the string that it is.
    pub(super) fn value(self, text: &str) -> Value {
        match self {
            Self::Integer => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
            Self::Boolean => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
            Self::String => text.into(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Boolean => "a boolean",
        })
    }
}

/// A value as it is written in a file, in the environment or in a flag: text, and the TOML type that it had in a file.
/// Its meaning is given by [`super::Raw`]'s check, so that a wrong one is one mistake among all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Setting {
    text: String,
    kind: Kind,
}

impl Setting {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it was in TOML; a string, where it came from elsewhere.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    fn of(value: impl fmt::Display, kind: Kind) -> Self {
        Self { text: value.to_string(), kind }
    }
}

impl From<Setting> for String {
    fn from(setting: Setting) -> Self {
        setting.text
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self { text, kind: Kind::String }
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Setting;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, an integer or a boolean")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Setting, E> {
                Ok(text.into())
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Setting, E> {
                Ok(Setting::of(value, Kind::Boolean))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
                Ok(Setting::of(value, Kind::Integer))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
                Ok(Setting::of(value, Kind::Integer))
            }
        }

        deserializer.deserialize_any(Text)
    }
}
