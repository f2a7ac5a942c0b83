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
    let mut out = Vec::with_capacity(256);
    write(value, &mut out, write_canonical_string)?;
    Ok(out)
}

/// The canonical form of `value`, except that strings are escaped as JSON wants it: compact JSON with sorted keys.
pub(crate) fn to_json(value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out, write_json_string)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>, string: fn(&str, &mut Vec<u8>)) -> Result<(), Error> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if integer.unsigned_abs() <= json::INTEGER_MAX => {
                out.extend_from_slice(integer.to_string().as_bytes());
            }
            _ => return Err(Error::invalid("number", number, "integers within ±(2^53 - 1)")),
        },
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out, string)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            // serde_json's map is sorted unless some crate of the build turned its feature `preserve_order` on.
            if map.keys().is_sorted() {
                write_entries(map.iter(), out, string)?;
            } else {
                write_entries(sorted(map).into_iter(), out, string)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_entries<'a>(
    entries: impl Iterator<Item = (&'a String, &'a Value)>,
    out: &mut Vec<u8>,
    string: fn(&str, &mut Vec<u8>),
) -> Result<(), Error> {
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        write(value, out, string)?;
    }
    Ok(())
}

fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
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
    // A `Value` that is a string always serialises, and displays as JSON.
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}
