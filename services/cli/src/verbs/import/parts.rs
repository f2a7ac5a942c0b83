//! From a source to bounded parts of an import.

use std::io::Read;

use rstuf_tuf::Change;

use super::{
    lines::{Line, Lines, Mistake, Wrong},
    objects::Objects,
    rows::{self, Rows},
};
use crate::{
    client::{Outgoing, Part},
    error::{Error, Violation},
    submit::Limits,
};

/// Bytes of changes in one part: large enough to be quick, small enough to show progress.
const PART_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Lines that are told to be wrong at once.
const MISTAKES_MAX: usize = 20;

/// How lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// path,length,algorithm,digest
    #[value(alias = "csv")]
    Commas,
    /// path;length;algorithm;digest
    Semicolons,
    /// JSON Lines: {"path": "a", "length": 5, "hashes": {"sha256": "..."}}
    #[value(alias = "json")]
    Jsonl,
}

impl Format {
    /// What the first line looks like.
    fn of(first: &Line) -> Self {
        let fields = |delimiter| rows::split(first, delimiter).map_or(0, |fields| fields.len());
        if first.text.trim_start().starts_with('{') {
            Self::Jsonl
        } else if fields(',') > fields(';') {
            Self::Commas
        } else {
            Self::Semicolons
        }
    }
}

/// Changes, whatever the format.
enum Changes<R> {
    Rows(Rows<R>),
    Objects(Objects<R>),
}

impl<R: Read> Changes<R> {
    fn new(mut lines: Lines<R>, format: Option<Format>) -> Result<Self, Wrong> {
        let format = match format {
            Some(format) => format,
            None => {
                let first = lines.next()?;
                let format = first.as_ref().map_or(Format::Semicolons, Format::of);
                first.into_iter().for_each(|first| lines.put_back(first));
                format
            }
        };
        Ok(match format {
            Format::Commas => Self::Rows(Rows::new(lines, ',')),
            Format::Semicolons => Self::Rows(Rows::new(lines, ';')),
            Format::Jsonl => Self::Objects(Objects::new(lines)),
        })
    }

    fn next(&mut self) -> Result<Option<Change>, Wrong> {
        match self {
            Self::Rows(rows) => rows.next_change(),
            Self::Objects(objects) => objects.next_change(),
        }
    }
}

/// Parts of an import, one after the other.
pub(super) struct Parts<R> {
    changes: Changes<R>,
    limits: Limits,
    read: u64,
}

impl<R: Read> Parts<R> {
    /// Begins to read `source`, in `format` or in the one that its first line shows.
    ///
    /// # Errors
    /// Where nothing can be read.
    pub(super) fn new(source: R, format: Option<Format>, limits: Limits) -> Result<Self, Error> {
        let bytes_max = limits.bytes_max.min(PART_BYTES_MAX) / 2;
        let changes = Changes::new(Lines::new(source), format).map_err(|wrong| match wrong {
            Wrong::Line(mistake) => wrong_lines(&[mistake]),
            Wrong::Source(error) => unreadable(&error),
        })?;
        Ok(Self { changes, limits: Limits { bytes_max, ..limits }, read: 0 })
    }

    /// Leaves out the first `count` changes.
    ///
    /// # Errors
    /// As [`Parts::next`]; or where there are fewer.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Error> {
        while self.read < count {
            match self.changes.next() {
                Ok(Some(_)) => self.read += 1,
                Ok(None) => {
                    let message = format!("{} changes, but the coordinator has {count} of this request id", self.read);
                    return Err(Error::failed(message).next("import the same again, or under another --request-id"));
                }
                Err(Wrong::Line(mistake)) => return Err(self.mistakes(mistake)),
                Err(Wrong::Source(error)) => return Err(unreadable(&error)),
            }
        }
        Ok(())
    }

    /// The next part; none at the end.
    ///
    /// # Errors
    /// Names the lines that are wrong, the first [`MISTAKES_MAX`] at once; or where there is no line at all.
    pub(super) fn next(&mut self) -> Result<Option<Part>, Error> {
        let mut part = Part::default();
        while part.len() < self.limits.changes_max && part.bytes() < self.limits.bytes_max {
            match self.changes.next() {
                Ok(Some(change)) => {
                    part.push(Outgoing::from(&change));
                    self.read += 1;
                }
                Ok(None) => break,
                Err(Wrong::Line(mistake)) => return Err(self.mistakes(mistake)),
                Err(Wrong::Source(error)) => return Err(unreadable(&error)),
            }
        }
        if self.read == 0 {
            return Err(Error::failed("there is no line, so nothing to import"));
        }
        Ok((!part.is_empty()).then_some(part))
    }

    /// Looks on for others, so that they can be mended together.
    fn mistakes(&mut self, first: Mistake) -> Error {
        let mut mistakes = vec![first];
        while mistakes.len() < MISTAKES_MAX {
            match self.changes.next() {
                Ok(Some(_)) => {}
                Err(Wrong::Line(mistake)) => mistakes.push(mistake),
                Ok(None) | Err(Wrong::Source(_)) => break,
            }
        }
        wrong_lines(&mistakes)
    }
}

fn wrong_lines(mistakes: &[Mistake]) -> Error {
    let message = match mistakes {
        [one] => format!("{one}; nothing is imported"),
        all if all.len() < MISTAKES_MAX => format!("{} lines are wrong, nothing is imported", all.len()),
        all => format!("{} lines are wrong, there may be more, nothing is imported", all.len()),
    };
    let violation = |it: &Mistake| Violation { field: format!("line {}", it.line), description: it.what.clone() };
    Error::failed(message).violations(mistakes.iter().map(violation).collect())
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::failed(format!("the source cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { changes_max: 10, bytes_max: 1 << 20 };

    fn parts(text: &str) -> Result<Vec<usize>, Error> {
        let mut parts = Parts::new(text.as_bytes(), None, LIMITS)?;
        let mut sizes = Vec::new();
        while let Some(part) = parts.next()? {
            sizes.push(part.len());
        }
        Ok(sizes)
    }

    fn rows(count: usize, delimiter: char) -> String {
        let row = |at| format!("a/{at};1;sha256;{}\n", "ab".repeat(32));
        (0..count).map(row).collect::<String>().replace(';', &delimiter.to_string())
    }

    #[test]
    fn every_format_is_recognised_and_cut_into_bounded_parts() {
        let objects: String = (0..25).map(|at| format!("{{\"remove\": \"a/{at}\"}}\n")).collect();
        let headed = format!("path,length,algorithm,digest\n{}", rows(25, ','));
        for text in [rows(25, ';'), rows(25, ','), headed, objects] {
            assert_eq!(parts(&text), Ok(vec![10, 10, 5]), "{}", text.lines().next().unwrap());
        }
        assert!(parts("path;length;algorithm;digest\n").unwrap_err().message.contains("nothing to import"));
        assert!(parts("").unwrap_err().message.contains("nothing to import"));
    }

    #[test]
    fn wrong_lines_are_told_together_up_to_a_bound() {
        let one = parts(&format!("{}a;x;sha256;y\n", rows(11, ';'))).unwrap_err();
        assert!(one.message.starts_with("line 12: length"), "{one}");
        let wrong = |count: usize| parts(&format!("{}{}", rows(1, ';'), "a;x;sha256;y\nb\n".repeat(count)));
        let some = wrong(3).unwrap_err();
        assert!(some.message.starts_with("6 lines are wrong") && some.violations.len() == 6, "{some}");
        assert!(some.to_string().contains("line 7: 1 fields"), "{some}");
        let many = wrong(50).unwrap_err();
        assert!(many.message.contains("may be more") && many.violations.len() == MISTAKES_MAX, "{many}");
    }
}
