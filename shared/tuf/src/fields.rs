//! Reading the fields of an object, strictly, without losing those that are not known.

use serde_json::{Map, Value};

use crate::Error;

/// Most fields that any object of a document has by the specification.
const FIELDS_MAX: usize = 8;

/// Reads the fields of one object, and remembers which ones it knows.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    known: [&'static str; FIELDS_MAX],
    /// Fields asked for and there, of which `known` holds the names.
    found: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(value: &'a Value, what: &str) -> Result<Self, Error> {
        let object = value.as_object().ok_or_else(|| Error::invalid(what, kind(value), "an object"))?;
        Ok(Self { object, known: [""; FIELDS_MAX], found: 0 })
    }

    pub(crate) fn optional(&mut self, name: &'static str) -> Option<&'a Value> {
        let value = self.object.get(name)?;
        self.known[self.found] = name;
        self.found += 1;
        Some(value)
    }

    pub(crate) fn require(&mut self, name: &'static str) -> Result<&'a Value, Error> {
        self.optional(name).ok_or_else(|| Error::Missing { field: name.to_owned() })
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<&'a str, Error> {
        let value = self.require(name)?;
        as_text(name, value)
    }

    pub(crate) fn optional_text(&mut self, name: &'static str) -> Result<Option<&'a str>, Error> {
        self.optional(name).map(|value| as_text(name, value)).transpose()
    }

    pub(crate) fn integer(&mut self, name: &'static str) -> Result<u64, Error> {
        let value = self.require(name)?;
        value.as_u64().ok_or_else(|| Error::invalid(name, value, "an integer, 0 or above"))
    }

    pub(crate) fn boolean(&mut self, name: &'static str) -> Result<bool, Error> {
        let value = self.require(name)?;
        value.as_bool().ok_or_else(|| Error::invalid(name, kind(value), "true or false"))
    }

    pub(crate) fn array(&mut self, name: &'static str) -> Result<&'a [Value], Error> {
        let value = self.require(name)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| Error::invalid(name, kind(value), "an array"))
    }

    pub(crate) fn object(&mut self, name: &'static str) -> Result<&'a Map<String, Value>, Error> {
        let value = self.require(name)?;
        value.as_object().ok_or_else(|| Error::invalid(name, kind(value), "an object"))
    }

    /// The fields that nobody asked for.
    pub(crate) fn unknown(self) -> Map<String, Value> {
        if self.found == self.object.len() {
            return Map::new();
        }
        let known = &self.known[..self.found];
        let others = self.object.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        others.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

fn as_text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Error> {
    value.as_str().ok_or_else(|| Error::invalid(name, kind(value), "a string"))
}

/// What a value is, for messages: its contents may be long.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
