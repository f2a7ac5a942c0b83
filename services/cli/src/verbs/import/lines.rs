//! Lines of `path;length;algorithm;digest`.

use std::collections::BTreeMap;
use std::io::Read;

use csv::{Reader, ReaderBuilder, StringRecord};
use rstuf_tuf::{Change, HashAlgorithm, Hashes, Target, TargetPath};

use crate::error::Error;

/// The first line may name the fields.
const HEAD: [&str; 4] = ["path", "length", "algorithm", "digest"];

/// Reads additions from lines. Neighbouring lines of one path are one artifact with several hashes.
pub(super) struct Lines<R> {
    reader: Reader<R>,
    record: StringRecord,
    /// The line after the last change.
    ahead: Option<Line>,
}

/// One line, each field checked.
struct Line {
    number: u64,
    path: TargetPath,
    length: u64,
    algorithm: HashAlgorithm,
    digest: String,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R) -> Lines<R> {
        let reader = ReaderBuilder::new().delimiter(b';').has_headers(false).flexible(true).from_reader(source);
        Lines { reader, record: StringRecord::new(), ahead: None }
    }

    /// The next addition; none at the end.
    ///
    /// # Errors
    /// Names the line, the field, its value and what is allowed.
    pub(super) fn next_change(&mut self) -> Result<Option<Change>, Error> {
        let Some(first) = self.next_line()? else { return Ok(None) };
        let mut digests = BTreeMap::from([(first.algorithm.as_str(), first.digest)]);
        while let Some(line) = self.next_line()? {
            if line.path != first.path {
                self.ahead = Some(line);
                break;
            }
            if line.length != first.length {
                let allowed = format!("{}, as in the line before of this path", first.length);
                return Err(wrong(line.number, "length", &line.length.to_string(), &allowed));
            }
            if digests.insert(line.algorithm.as_str(), line.digest).is_some() {
                return Err(wrong(line.number, "algorithm", line.algorithm.as_str(), "each one once for a path"));
            }
        }
        let pairs = digests.iter().map(|(algorithm, digest)| (*algorithm, digest.as_str()));
        let hashes = Hashes::from_hex(pairs).map_err(|_| no_sha256(first.number, &first.path))?;
        let target = Target::new(first.length, hashes, None);
        let target = target.map_err(|error| Error::failed(format!("line {}: {error}", first.number)))?;
        Ok(Some(Change::Add { path: first.path, target }))
    }

    fn next_line(&mut self) -> Result<Option<Line>, Error> {
        if let Some(line) = self.ahead.take() {
            return Ok(Some(line));
        }
        loop {
            let start = self.reader.position().line();
            match self.reader.read_record(&mut self.record) {
                Ok(false) => return Ok(None),
                Ok(true) => {}
                Err(error) => return Err(unreadable(start, &error)),
            }
            let number = self.record.position().map_or(start, csv::Position::line);
            if number == 1 && self.record.iter().eq(HEAD) {
                continue;
            }
            return check(number, &self.record).map(Some);
        }
    }
}

fn check(number: u64, record: &StringRecord) -> Result<Line, Error> {
    let fields: Vec<_> = record.iter().collect();
    let [path, length, algorithm, digest] = fields[..] else {
        let message = format!("line {number}: {} fields, allowed: 4, as path;length;algorithm;digest", fields.len());
        return Err(Error::failed(message));
    };
    let parsed = TargetPath::try_from(path);
    let path = parsed.map_err(|error| Error::failed(format!("line {number}: path: {error}")))?;
    let bytes = length.parse::<u64>().ok().filter(|bytes| *bytes <= rstuf_tuf::json::INTEGER_MAX);
    let bytes = bytes.ok_or_else(|| wrong(number, "length", length, "bytes, 0 to 2^53 - 1"))?;
    let checked = algorithm.parse::<HashAlgorithm>();
    let algorithm = checked.map_err(|_| wrong(number, "algorithm", algorithm, "sha256, sha512, blake2b-256"))?;
    let digits = algorithm.digest_bytes() * 2;
    if digest.len() != digits || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(wrong(number, "digest", digest, &format!("{digits} lower-case hexadecimal digits")));
    }
    Ok(Line { number, path, length: bytes, algorithm, digest: digest.to_owned() })
}

fn wrong(number: u64, field: &str, value: &str, allowed: &str) -> Error {
    Error::failed(format!("line {number}: {field} is {value:?}, allowed: {allowed}"))
}

fn no_sha256(number: u64, path: &TargetPath) -> Error {
    Error::failed(format!("line {number}: {path} has no sha256, it must be among its algorithms"))
        .next("lines of one path must stand together")
}

fn unreadable(start: u64, error: &csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::Utf8 { pos, err } => {
            let line = pos.as_ref().map_or(start, csv::Position::line);
            Error::failed(format!("line {line}: {err}, allowed: UTF-8"))
        }
        _ => Error::failed(format!("line {start}: cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Change>, Error> {
        let mut lines = Lines::new(text);
        let mut changes = Vec::new();
        while let Some(change) = lines.next_change()? {
            changes.push(change);
        }
        Ok(changes)
    }

    #[test]
    fn neighbouring_lines_of_one_path_are_one_artifact() {
        let (short, long) = ("ab".repeat(32), "cd".repeat(64));
        let text = format!(
            "path;length;algorithm;digest\r\na/b;5;sha512;{long}\na/b;5;sha256;{short}\n\n\"x;y\";0;sha256;{short}\nz;9007199254740991;sha256;{short}"
        );
        let changes = read(text.as_bytes()).unwrap();
        let paths: Vec<_> = changes.iter().map(|change| change.path().as_str()).collect();
        assert_eq!(paths, ["a/b", "x;y", "z"]);
        let Change::Add { target, .. } = &changes[0] else { panic!("an addition") };
        assert_eq!(target.length(), 5);
        let hashes: Vec<_> = target.hashes().iter().map(|(name, digest)| (name.to_owned(), digest)).collect();
        assert_eq!(hashes, [("sha256".to_owned(), short), ("sha512".to_owned(), long)]);
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_is_told_with_line_field_value_and_what_is_allowed() {
        let short = "ab".repeat(32);
        let good = format!("good;1;sha256;{short}\n");
        let cases = [
            ("a;1;sha256".to_owned(), vec!["line 2", "3 fields"]),
            (format!("../a;1;sha256;{short}"), vec!["line 2", "path", "../a"]),
            (format!("a;-1;sha256;{short}"), vec!["line 2", "length", "\"-1\"", "2^53"]),
            (format!("a;9007199254740992;sha256;{short}"), vec!["line 2", "length", "2^53"]),
            (format!("a;1;md5;{short}"), vec!["line 2", "algorithm", "\"md5\"", "blake2b-256"]),
            (format!("a;1;sha256;{}", short.to_uppercase()), vec!["line 2", "digest", "64 lower-case"]),
            (format!("a;1;sha512;{short}"), vec!["line 2", "digest", "128 lower-case"]),
            (format!("a;1;blake2b-256;{short}"), vec!["line 2", "a has no sha256"]),
            (format!("a;1;sha256;{short}\na;2;blake2b-256;{short}"), vec!["line 3", "length", "\"2\"", "1, as"]),
            (format!("a;1;sha256;{short}\na;1;sha256;{short}"), vec!["line 3", "algorithm", "once"]),
        ];
        for (line, parts) in cases {
            let error = read(format!("{good}{line}").as_bytes()).unwrap_err().message;
            assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
        }
        let mut bytes = good.into_bytes();
        bytes.extend(b"\xff;1;sha256;x");
        assert!(read(&bytes).unwrap_err().message.contains("line 2"));
    }
}
