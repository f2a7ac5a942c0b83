//! Files with a path on each line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use rstuf_tuf::TargetPath;

use crate::error::Error;

/// The longest line that is read: no path is longer.
const LINE_BYTES_MAX: u64 = TargetPath::BYTES_MAX as u64 + 2;

/// Lines that are wrong and told at once.
const MISTAKES_MAX: usize = 20;

/// Reads every line of a file, or of standard input where it is called `-`; empty ones do not count.
///
/// # Errors
/// Where it can't be read, or lines are no paths: the first of them.
pub(crate) fn read(file: &Path) -> Result<Vec<TargetPath>, Error> {
    let unreadable = |error: io::Error| Error::failed(format!("{} cannot be read: {error}", file.display()));
    if file == Path::new("-") {
        return lines(io::stdin().lock()).map_err(unreadable)?;
    }
    lines(BufReader::new(File::open(file).map_err(unreadable)?)).map_err(unreadable)?
}

fn lines(mut source: impl BufRead) -> io::Result<Result<Vec<TargetPath>, Error>> {
    let mut paths = Vec::new();
    let mut mistakes = Vec::new();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        match TargetPath::try_from(text) {
            _ if text.is_empty() => {}
            Ok(path) if is_whole => paths.push(path),
            Ok(path) => mistakes.push(format!("line {number}: {path:.40}... is longer than a path can be")),
            Err(error) => mistakes.push(format!("line {number}: {error}")),
        }
        if !is_whole || mistakes.len() >= MISTAKES_MAX {
            break;
        }
    }
    if mistakes.is_empty() && paths.is_empty() {
        return Ok(Err(Error::failed("there is no line, so nothing to remove")));
    }
    Ok(if mistakes.is_empty() { Ok(paths) } else { Err(Error::failed(mistakes.join("\n"))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<String>, String> {
        let paths = lines(text).unwrap().map_err(|error| error.message)?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_line_is_a_path() {
        assert_eq!(read(b"a/b\r\n\nwhat? [1]*\nlast").unwrap(), ["a/b", "what? [1]*", "last"]);
        let longest = "x".repeat(TargetPath::BYTES_MAX);
        assert_eq!(read(format!("{longest}\r\na").as_bytes()).unwrap(), [longest, "a".to_owned()]);
    }

    #[test]
    fn the_first_wrong_lines_are_told_at_once() {
        let told = read(b"ok\n../up\nok\n/abs\n").unwrap_err();
        assert!(told.contains("line 2: ") && told.contains("line 4: ") && told.lines().count() == 2, "{told}");
        assert_eq!(read("/abs\n".repeat(1_000).as_bytes()).unwrap_err().lines().count(), MISTAKES_MAX);
        assert!(read("x".repeat(5_000).as_bytes()).unwrap_err().contains("line 1: "));
        assert!(read(b"\n\n").unwrap_err().contains("nothing to remove"));
    }
}
