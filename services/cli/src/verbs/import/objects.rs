//! JSON Lines: one object a line, as `rstuf artifact list --json` has them, or with what is removed.

use std::io::Read;

use rstuf_tuf::{Change, Custom, HashAlgorithm, Hashes, Target, TargetPath};
use serde_json::{Map, Value};

use super::lines::{Line, Lines, Mistake, Wrong};

/// Reads changes from objects.
pub(super) struct Objects<R> {
    lines: Lines<R>,
}

impl<R: Read> Objects<R> {
    pub(super) fn new(lines: Lines<R>) -> Self {
        Self { lines }
    }

    /// The next change; none at the end.
    pub(super) fn next_change(&mut self) -> Result<Option<Change>, Wrong> {
        let Some(line) = self.lines.next()? else { return Ok(None) };
        let change = change(&line).map_err(|what| Mistake::new(line.number, what))?;
        Ok(Some(change))
    }
}

fn change(line: &Line) -> Result<Change, String> {
    let value = rstuf_tuf::json::parse(line.text.as_bytes()).map_err(|error| error.to_string())?;
    let Value::Object(mut object) = value else { return Err("no object, allowed: a JSON object a line".to_owned()) };
    let change = match object.remove("remove") {
        Some(path) => Change::Remove { path: target_path("remove", &path)? },
        None => addition(&mut object)?,
    };
    match object.keys().next() {
        None => Ok(change),
        Some(key) => {
            Err(format!("unknown key {key:?}, allowed: path, length, hashes and custom, or remove and nothing else"))
        }
    }
}

fn addition(object: &mut Map<String, Value>) -> Result<Change, String> {
    let mut take = |key: &str| object.remove(key).ok_or_else(|| format!("there is no {key:?}"));
    let path = target_path("path", &take("path")?)?;
    let length = take("length")?;
    let length = length.as_u64().ok_or_else(|| format!("length is {length}, allowed: bytes, 0 to 2^53 - 1"))?;
    let hashes = hashes(&take("hashes")?)?;
    let custom = match object.remove("custom") {
        Some(Value::Object(custom)) => Some(Custom::new(custom).map_err(|error| error.to_string())?),
        Some(other) => return Err(format!("custom is {other}, allowed: an object")),
        None => None,
    };
    let target = Target::new(length, hashes, custom).map_err(|error| error.to_string())?;
    Ok(Change::Add { path, target })
}

fn target_path(key: &str, value: &Value) -> Result<TargetPath, String> {
    let text = value.as_str().ok_or_else(|| format!("{key} is {value}, allowed: a string"))?;
    TargetPath::try_from(text).map_err(|error| format!("{key}: {error}"))
}

fn hashes(value: &Value) -> Result<Hashes, String> {
    let wrong = || format!("hashes is {value}, allowed: an object of algorithms and hexadecimal digests");
    let object = value.as_object().ok_or_else(wrong)?;
    let pairs = object.iter().map(|(name, digest)| {
        name.parse::<HashAlgorithm>().map_err(|error| format!("hashes: {error}"))?;
        Ok((name.as_str(), digest.as_str().ok_or_else(wrong)?))
    });
    let pairs = pairs.collect::<Result<Vec<_>, String>>()?;
    Hashes::from_hex(pairs).map_err(|error| format!("hashes: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Change, String> {
        change(&Line { number: 1, text: text.to_owned() })
    }

    #[test]
    fn objects_add_and_remove() {
        let short = "ab".repeat(32);
        let text = format!(r#"{{"path":"a","length":5,"hashes":{{"sha256":"{short}"}},"custom":{{"k":[1]}}}}"#);
        let Ok(Change::Add { path, target }) = read(&text) else { panic!("an addition") };
        assert_eq!((path.as_str(), target.length(), target.hashes().iter().count()), ("a", 5, 1));
        assert_eq!(target.custom().unwrap().as_map()["k"], serde_json::json!([1]));
        assert!(matches!(read(r#"{"remove": "b/c"}"#), Ok(Change::Remove { path }) if path.as_str() == "b/c"));
    }

    #[test]
    fn a_mistake_names_the_field() {
        let short = "ab".repeat(32);
        let hashes = format!(r#""hashes":{{"sha256":"{short}"}}"#);
        for (text, part) in [
            ("[1]".to_owned(), "no object"),
            ("{\"path\"".to_owned(), "JSON"),
            (format!("{{\"path\":\"/a\",\"length\":1,{hashes}}}"), "path"),
            (format!("{{\"path\":\"a\",\"length\":-1,{hashes}}}"), "length"),
            (format!("{{\"path\":\"a\",{hashes}}}"), "length"),
            ("{\"path\":\"a\",\"length\":1,\"hashes\":{\"md5\":\"00\"}}".to_owned(), "md5"),
            ("{\"path\":\"a\",\"length\":1,\"hashes\":{\"sha256\":\"0\"}}".to_owned(), "hashes"),
            (format!("{{\"path\":\"a\",\"length\":1,\"size\":1,{hashes}}}"), "size"),
            (format!("{{\"path\":\"a\",\"length\":1,\"custom\":1,{hashes}}}"), "custom"),
            ("{\"remove\":\"a\",\"path\":\"a\"}".to_owned(), "nothing else"),
        ] {
            let told = read(&text).unwrap_err();
            assert!(told.to_lowercase().contains(&part.to_lowercase()), "{part} in {told}");
        }
    }
}
