//! OLPC canonical JSON, the form that is signed and hashed (TUF specification, section 4.2).
//!
//! No white space; keys sorted by code point (which for UTF-8 is by byte); in strings only `"` and `\` are escaped, so
//! a control character stands there raw and the result need not be JSON; no floats.

use serde_json::{Map, Value};

use crate::{Error, json};

/// The canonical form of `value`.
///
/// # Errors
/// [`Error::Invalid`] for a number that is not an integer within ±(2^53 - 1).
pub fn to_vec(value: &Value) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::canonical();
    writer.value(value)?;
    Ok(writer.into_bytes())
}

/// The canonical form of `value`, except that strings are escaped as JSON wants it: compact JSON with sorted keys.
pub(crate) fn to_json(value: &Value) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::json();
    writer.value(value)?;
    Ok(writer.into_bytes())
}

/// Writes values one after the other, so that none has to be made of many others first.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    string: fn(&str, &mut Vec<u8>),
}

impl Writer {
    /// Of the canonical form.
    pub(crate) fn canonical() -> Self {
        Self { out: Vec::with_capacity(256), string: write_canonical_string }
    }

    /// Of the same, except that strings are escaped as JSON wants it.
    pub(crate) fn json() -> Self {
        Self { out: Vec::with_capacity(256), string: write_json_string }
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Writes what is the same in both forms.
    pub(crate) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes any value.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value {
            Value::Null => self.raw("null"),
            Value::Bool(true) => self.raw("true"),
            Value::Bool(false) => self.raw("false"),
            Value::Number(number) => match number.as_i64() {
                Some(integer) if integer.unsigned_abs() <= json::INTEGER_MAX => self.raw(&integer.to_string()),
                _ => return Err(Error::invalid("number", number, "integers within ±(2^53 - 1)")),
            },
            Value::String(text) => (self.string)(text, &mut self.out),
            Value::Array(items) => {
                self.out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.value(item)?;
                }
                self.out.push(b']');
            }
            // serde_json's map is sorted unless some crate of the build turned its feature `preserve_order` on.
            Value::Object(map) if map.keys().is_sorted() => {
                self.object(map.iter().map(|(key, value)| (key.as_str(), value)), Self::value)?;
            }
            Value::Object(map) => self.object(sorted(map).into_iter(), Self::value)?,
        }
        Ok(())
    }

    /// Writes an object; `members` come sorted, each key once.
    pub(crate) fn object<'a, T>(
        &mut self,
        members: impl Iterator<Item = (&'a str, T)>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(b'{');
        for (index, (key, value)) in members.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            (self.string)(key, &mut self.out);
            self.out.push(b':');
            write(self, value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Writes an object of `fields` and one more, which `entries` writes.
    pub(crate) fn object_with(
        &mut self,
        mut fields: Map<String, Value>,
        name: &str,
        entries: impl Fn(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        fields.remove(name);
        let mut members: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), Some(value))).collect();
        members.push((name, None));
        members.sort_unstable_by_key(|(key, _)| *key);
        self.object(members.into_iter(), |writer, value| match value {
            Some(value) => writer.value(value),
            None => entries(writer),
        })
    }
}

fn sorted(map: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

fn write_canonical_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for part in text.as_bytes().split_inclusive(|byte| matches!(byte, b'"' | b'\\')) {
        match part.split_last() {
            Some((last @ (b'"' | b'\\'), before)) => {
                out.extend_from_slice(before);
                out.extend_from_slice(&[b'\\', *last]);
            }
            _ => out.extend_from_slice(part),
        }
    }
    out.push(b'"');
}

fn write_json_string(text: &str, out: &mut Vec<u8>) {
    // A string always serialises, and a vector takes all.
    let _ = serde_json::to_writer(out, text);
}
