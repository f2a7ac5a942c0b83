//! Text line by line, with numbers and bounds; and what is wrong with a line.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read},
};

/// Bytes of the longest line: the longest path and the largest `custom`, both escaped, with room to spare.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Its number; the first is 1.
    pub(super) line: u64,
    /// The field, its value and what is allowed.
    pub(super) what: String,
}

impl Mistake {
    pub(super) fn new(line: u64, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }

    /// A field that is wrong.
    pub(super) fn field(line: u64, field: &str, value: &str, allowed: &str) -> Self {
        Self::new(line, format!("{field} is {value:?}, allowed: {allowed}"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.what)
    }
}

/// Why there is no next change.
#[derive(Debug)]
pub(super) enum Wrong {
    /// A line is wrong; the next one may be right.
    Line(Mistake),
    /// The source can't be read any further.
    Source(io::Error),
}

impl From<Mistake> for Wrong {
    fn from(mistake: Mistake) -> Self {
        Self::Line(mistake)
    }
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: String,
}

pub(super) struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    buffer: Vec<u8>,
    ahead: Option<Line>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { reader: BufReader::new(source), number: 0, buffer: Vec::new(), ahead: None }
    }

    /// The next line; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Wrong> {
        if let Some(line) = self.ahead.take() {
            return Ok(Some(line));
        }
        while self.fill().map_err(Wrong::Source)? {
            self.number += 1;
            if self.buffer.len() > LINE_BYTES_MAX {
                self.skip().map_err(Wrong::Source)?;
                return Err(Mistake::new(self.number, format!("longer than {LINE_BYTES_MAX} bytes")).into());
            }
            let Ok(text) = std::str::from_utf8(&self.buffer) else {
                return Err(Mistake::new(self.number, "not UTF-8").into());
            };
            // Spreadsheets put a mark before the first line.
            let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
            if !text.trim().is_empty() {
                return Ok(Some(Line { number: self.number, text: text.to_owned() }));
            }
        }
        Ok(None)
    }

    /// Makes `line` the next one again.
    pub(super) fn put_back(&mut self, line: Line) {
        self.ahead = Some(line);
    }

    /// Reads up to the end of a line, or somewhat more than one may have; whether there was anything.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        Ok(self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer)? > 0)
    }

    /// Goes on to the end of a line that is too long.
    fn skip(&mut self) -> io::Result<()> {
        while !self.buffer.ends_with(b"\n") && self.fill()? {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_bounded() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let text = format!("\u{feff}a\r\n\n  \n{long}\nb");
        let mut lines = Lines::new(text.as_bytes());
        let mut next = || lines.next().map(|line| line.map(|line| (line.number, line.text)));
        assert_eq!(next().unwrap(), Some((1, "a".to_owned())));
        assert!(matches!(next(), Err(Wrong::Line(Mistake { line: 4, .. }))));
        assert_eq!(next().unwrap(), Some((5, "b".to_owned())));
        assert_eq!(next().unwrap(), None);
        let mut lines = Lines::new(&b"\xff\nb"[..]);
        assert!(matches!(lines.next(), Err(Wrong::Line(Mistake { line: 1, .. }))));
        assert_eq!(lines.next().unwrap().unwrap().number, 2);
    }
}
