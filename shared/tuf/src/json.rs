//! Strict JSON: the only way by which bytes become values here.
//!
//! Refused are: invalid UTF-8, duplicate keys, floats (also `1.0`, `1e3`, `-0`), integers beyond ±(2^53 - 1), nesting
//! deeper than [`DEPTH_MAX`], and anything after the value. Two readers can then not disagree about a document.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{
    Value,
    map::{Entry, Map},
};

use crate::Error;

/// Deepest nesting of arrays and objects that is read.
pub const DEPTH_MAX: usize = 32;

/// Greatest magnitude of an integer, 2^53 - 1: what every JSON reader holds exactly.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Keys with this prefix are serde_json's own: with its feature `arbitrary_precision` (which any crate of a build can
/// turn on for all) it hands numbers over as an object with such a key. No document may use them.
const RESERVED_PREFIX: &str = "$serde_json::private::";
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// Whether a key is one of the parser's own.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED_PREFIX)
}

/// Parses one JSON value strictly.
///
/// # Errors
/// [`Error::Json`] with line and column.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::Json { reason: format!("invalid UTF-8 after byte {}", error.valid_up_to()) })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| Error::Json { reason: error.to_string() })
}

/// Reads one value that stands inside `depth` others.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(E::custom(format_args!("integer {value} is beyond ±{INTEGER_MAX}")));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(E::custom(format_args!("integer {value} is beyond ±{INTEGER_MAX}")));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format_args!("number {value:?} is not a plain integer")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut inner = None;
        while let Some(key) = access.next_key::<String>()? {
            if is_reserved(&key) {
                return reserved(&key, map.is_empty(), access);
            }
            // Only now, because a number that comes as an object is no level of nesting.
            let seed = match inner {
                Some(seed) => seed,
                None => *inner.insert(self.deeper()?),
            };
            let value = access.next_value_seed(seed)?;
            match map.entry(key) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(entry) => {
                    return Err(A::Error::custom(format_args!("duplicate key {:?}", entry.key())));
                }
            };
        }
        if inner.is_none() {
            self.deeper::<A::Error>()?;
        }
        Ok(Value::Object(map))
    }
}

/// A map that begins with a reserved key: a number under `arbitrary_precision`, else a document that imitates one.
fn reserved<'de, A: MapAccess<'de>>(key: &str, first: bool, mut access: A) -> Result<Value, A::Error> {
    if key != NUMBER_KEY || !first {
        return Err(A::Error::custom(format_args!("key {key:?} is reserved")));
    }
    let text = access.next_value_seed(NumberText)?;
    // `-0` is a float where numbers are parsed, so it must be refused here too.
    let value = text.parse::<i64>().ok().filter(|value| value.unsigned_abs() <= INTEGER_MAX && text != "-0");
    match value {
        Some(value) => Ok(Value::Number(value.into())),
        None => Err(A::Error::custom(format_args!("number {text} is not an integer within ±{INTEGER_MAX}"))),
    }
}

/// Takes the text of a number, which comes as an owned string; a string of the document never does.
struct NumberText;

impl<'de> DeserializeSeed<'de> for NumberText {
    type Value = String;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NumberText {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number (no object may have a key reserved by the parser)")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<String, E> {
        Err(E::custom(format_args!("key {NUMBER_KEY:?} is reserved")))
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error as ValueError, MapDeserializer};

    use super::*;

    /// A number as serde_json hands it over with `arbitrary_precision`: an object whose only value is an owned string.
    fn number(text: &str) -> Result<Value, String> {
        let entries = [(NUMBER_KEY, text.to_owned())].into_iter();
        let read = Strict { depth: DEPTH_MAX }.deserialize(MapDeserializer::<_, ValueError>::new(entries));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_of_arbitrary_precision_follow_the_same_rules() {
        assert_eq!(number("9007199254740991").unwrap(), 9_007_199_254_740_991_i64);
        assert_eq!(number("-7").unwrap(), -7);
        let float = parse(b"1.0").unwrap_err().to_string();
        assert!(float.contains("number 1.0 is not"), "{float}");
        for refused in ["9007199254740992", "-0", "1.0", "1e3", "99999999999999999999"] {
            assert!(number(refused).unwrap_err().contains(refused));
        }
    }
}
