//! A value as it is written.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{Deserializer, Error, Visitor},
};

/// A value as it is written in a file, in the environment or in a flag: text, whatever TOML type it had. Its meaning
/// is given by [`super::Raw`]'s check, so that a wrong one is one mistake among all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting(String);

impl Setting {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
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
                Ok(value.to_string().into())
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
                Ok(value.to_string().into())
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
                Ok(value.to_string().into())
            }
        }

        deserializer.deserialize_any(Text)
    }
}
