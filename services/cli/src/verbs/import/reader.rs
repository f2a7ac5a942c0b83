//! From a source to changes.

use std::io::Read;

use rstuf_tuf::Change;

use super::{
    lines::{Line, Lines, Mistake, Wrong},
    objects::Objects,
    rows::{self, Rows},
};
use crate::error::{Error, Violation};

/// Lines that are told to be wrong at once.
const MISTAKES_MAX: usize = 20;

/// How lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// path,length,algorithm,digest (csv is the same)
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

/// The changes of a source, one after the other.
pub(super) struct Reader<R> {
    changes: Changes<R>,
    any: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read `source`, in `format` or in the one that its first line shows.
    ///
    /// # Errors
    /// Where nothing can be read.
    pub(super) fn new(source: R, format: Option<Format>) -> Result<Self, Error> {
        let changes = Changes::new(Lines::new(source), format).map_err(|wrong| match wrong {
            Wrong::Line(mistake) => wrong_lines(&[mistake]),
            Wrong::Source(error) => unreadable(&error),
        })?;
        Ok(Self { changes, any: false })
    }

    /// The next change; none at the end.
    ///
    /// # Errors
    /// Names the lines that are wrong, the first [`MISTAKES_MAX`] at once; or where there is no line at all.
    pub(super) fn next(&mut self) -> Result<Option<Change>, Error> {
        match self.changes.next() {
            Ok(None) if !self.any => Err(Error::failed("there is no line, so nothing to import")),
            Ok(change) => {
                self.any = true;
                Ok(change)
            }
            Err(Wrong::Line(mistake)) => Err(self.mistakes(mistake)),
            Err(Wrong::Source(error)) => Err(unreadable(&error)),
        }
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

    fn count(text: &str) -> Result<usize, Error> {
        let mut reader = Reader::new(text.as_bytes(), None)?;
        let mut count = 0;
        while reader.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn rows(count: usize, delimiter: char) -> String {
        let row = |at| format!("a/{at};1;sha256;{}\n", "ab".repeat(32));
        (0..count).map(row).collect::<String>().replace(';', &delimiter.to_string())
    }

    #[test]
    fn every_format_is_recognised() {
        let objects: String = (0..25).map(|at| format!("{{\"remove\": \"a/{at}\"}}\n")).collect();
        let headed = format!("path,length,algorithm,digest\n{}", rows(25, ','));
        for text in [rows(25, ';'), rows(25, ','), headed, objects] {
            assert_eq!(count(&text), Ok(25), "{}", text.lines().next().unwrap());
        }
        assert!(count("path;length;algorithm;digest\n").unwrap_err().message.contains("nothing to import"));
        assert!(count("").unwrap_err().message.contains("nothing to import"));
    }

    #[test]
    fn wrong_lines_are_told_together_up_to_a_bound() {
        let one = count(&format!("{}a;x;sha256;y\n", rows(11, ';'))).unwrap_err();
        assert!(one.message.starts_with("line 12: length"), "{one}");
        let wrong = |times: usize| count(&format!("{}{}", rows(1, ';'), "a;x;sha256;y\nb\n".repeat(times)));
        let some = wrong(3).unwrap_err();
        assert!(some.message.starts_with("6 lines are wrong") && some.violations.len() == 6, "{some}");
        assert!(some.to_string().contains("line 7: 1 fields"), "{some}");
        let many = wrong(50).unwrap_err();
        assert!(many.message.contains("may be more") && many.violations.len() == MISTAKES_MAX, "{many}");
    }
}
