//! Lines of fields, with commas or semicolons between them.

use std::{borrow::Cow, collections::BTreeMap, io::Read};

use rstuf_tuf::{Change, HashAlgorithm, Hashes, Target, TargetPath};

use super::lines::{Line, Lines, Mistake, Wrong};

/// The columns, in the order that they have unless the first line says otherwise; the last may be left out.
const COLUMNS: [&str; 5] = ["path", "length", "algorithm", "digest", "action"];

/// Columns that are always there.
const COLUMNS_MIN: usize = 4;

/// Reads changes from rows. Neighbouring rows of one path are one artifact with several hashes.
pub(super) struct Rows<R> {
    lines: Lines<R>,
    delimiter: char,
    columns: Option<Columns>,
    /// The row after the last change.
    ahead: Option<Row>,
    /// The path of the last row that was wrong: what it lacks was told already.
    spoilt: Option<String>,
    /// The columns can't be known, so nothing else can.
    headless: bool,
}

/// Where each of [`COLUMNS`] stands, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Columns {
    places: [Option<usize>; COLUMNS.len()],
    count: std::ops::RangeInclusive<usize>,
}

/// One row, each field checked.
enum Row {
    Remove(TargetPath),
    Add(Entry),
}

/// One hash of one artifact.
struct Entry {
    number: u64,
    path: TargetPath,
    length: u64,
    algorithm: HashAlgorithm,
    digest: String,
}

impl<R: Read> Rows<R> {
    pub(super) fn new(lines: Lines<R>, delimiter: char) -> Self {
        Self { lines, delimiter, columns: None, ahead: None, spoilt: None, headless: false }
    }

    /// The next change; none at the end.
    pub(super) fn next_change(&mut self) -> Result<Option<Change>, Wrong> {
        loop {
            let first = match self.next_row()? {
                None => return Ok(None),
                Some(Row::Remove(path)) => return Ok(Some(Change::Remove { path })),
                Some(Row::Add(first)) => first,
            };
            let path = first.path.clone();
            match self.artifact(first) {
                Err(Wrong::Line(mistake)) if self.spoilt.as_deref() != Some(path.as_str()) => {
                    return Err(mistake.into());
                }
                Err(Wrong::Line(_)) => {}
                other => return other.map(Some),
            }
        }
    }

    /// The artifact that begins with `first`.
    fn artifact(&mut self, first: Entry) -> Result<Change, Wrong> {
        let mut digests = BTreeMap::from([(first.algorithm, first.digest)]);
        while let Some(row) = self.next_row()? {
            let entry = match row {
                Row::Add(entry) if entry.path == first.path => entry,
                other => {
                    self.ahead = Some(other);
                    break;
                }
            };
            if entry.length != first.length {
                let allowed = format!("{}, as in the line before of this path", first.length);
                return Err(Mistake::field(entry.number, "length", &entry.length.to_string(), &allowed).into());
            }
            if digests.insert(entry.algorithm, entry.digest).is_some() {
                let allowed = "each one once for a path";
                return Err(Mistake::field(entry.number, "algorithm", entry.algorithm.as_str(), allowed).into());
            }
        }
        let pairs = digests.iter().map(|(algorithm, digest)| (algorithm.as_str(), digest.as_str()));
        let no_sha256 = || {
            let path = &first.path;
            format!("{path} has no sha256, it must be among its algorithms; lines of one path must stand together")
        };
        let hashes = Hashes::from_hex(pairs).map_err(|_| Mistake::new(first.number, no_sha256()))?;
        let target = Target::new(first.length, hashes, None);
        let target = target.map_err(|error| Mistake::new(first.number, error.to_string()))?;
        Ok(Change::Add { path: first.path, target })
    }

    fn next_row(&mut self) -> Result<Option<Row>, Wrong> {
        if let Some(row) = self.ahead.take() {
            return Ok(Some(row));
        }
        while !self.headless
            && let Some(line) = self.lines.next()?
        {
            let fields = split(&line, self.delimiter)?;
            let columns = match &self.columns {
                Some(columns) => columns.clone(),
                None => {
                    let head = Columns::of_head(line.number, self.delimiter, &fields);
                    self.headless = head.is_err();
                    let head = head?;
                    let is_head = head.is_some();
                    let columns = self.columns.insert(head.unwrap_or_else(Columns::unsaid)).clone();
                    if is_head {
                        continue;
                    }
                    columns
                }
            };
            let row = columns.row(line.number, self.delimiter, &fields);
            if row.is_err() {
                self.spoilt = columns.get(&fields, 0).map(str::to_owned);
            }
            return Ok(Some(row?));
        }
        Ok(None)
    }
}

/// Fields of a line: in quotes, or up to the next delimiter.
pub(super) fn split(line: &Line, delimiter: char) -> Result<Vec<Cow<'_, str>>, Mistake> {
    let mut fields = Vec::new();
    let mut rest = line.text.as_str();
    loop {
        let field;
        (field, rest) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside).ok_or_else(|| Mistake::new(line.number, "a quotation mark has no end"))?,
            None => {
                let end = rest.find(delimiter).unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..end]), &rest[end..])
            }
        };
        fields.push(field);
        rest = match rest.strip_prefix(delimiter) {
            Some(rest) => rest,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(Mistake::new(line.number, format!("{rest:?} stands behind a quotation mark"))),
        };
    }
}

/// What stands before the closing quotation mark, and what behind it; a doubled one stands for itself.
fn quoted(inside: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0;
    loop {
        let end = from + inside[from..].find('"')?;
        if !inside[end + 1..].starts_with('"') {
            return Some((Cow::Owned(inside[..end].replace("\"\"", "\"")), &inside[end + 1..]));
        }
        from = end + 2;
    }
}

impl Columns {
    /// Those of files without a first line that names them.
    fn unsaid() -> Self {
        Self { places: std::array::from_fn(Some), count: COLUMNS_MIN..=COLUMNS.len() }
    }

    /// What the first line says, if it names columns.
    fn of_head(number: u64, delimiter: char, fields: &[Cow<'_, str>]) -> Result<Option<Self>, Mistake> {
        let names: Vec<_> = fields.iter().map(|field| field.trim().to_ascii_lowercase()).collect();
        // A row has a length, which is a number, or removes; a path may be called as a column is.
        let is_row = names.iter().any(|name| name.parse::<u64>().is_ok() || name == "remove");
        if is_row || !names.iter().any(|name| COLUMNS.contains(&name.as_str())) {
            return Ok(None);
        }
        let unsaid = COLUMNS[..COLUMNS_MIN].join(&delimiter.to_string());
        if let Some(other) = names.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
            let mut allowed = format!("{}; such as {unsaid}", COLUMNS.join(", "));
            if other.parse::<HashAlgorithm>().is_ok() {
                allowed.push_str(&format!(", with {other} and its digest in the lines below"));
            }
            return Err(Mistake::field(number, "a column", other, &allowed));
        }
        let places = COLUMNS.map(|column| names.iter().position(|name| name == column));
        if let Some(lacking) = COLUMNS.iter().zip(places).take(COLUMNS_MIN).find(|(_, place)| place.is_none()) {
            return Err(Mistake::new(number, format!("there is no column {:?}, allowed: such as {unsaid}", lacking.0)));
        }
        Ok(Some(Self { places, count: names.len()..=names.len() }))
    }

    fn get<'a>(&self, fields: &'a [Cow<'_, str>], column: usize) -> Option<&'a str> {
        self.places[column].and_then(|place| fields.get(place)).map(|field| &**field)
    }

    fn row(&self, number: u64, delimiter: char, fields: &[Cow<'_, str>]) -> Result<Row, Mistake> {
        if !self.count.contains(&fields.len()) {
            let wanted = COLUMNS[..COLUMNS_MIN].join(&delimiter.to_string());
            let what = format!("{} fields, allowed: {}, as {wanted}", fields.len(), self.count.start());
            return Err(Mistake::new(number, what));
        }
        let [path, length, algorithm, digest, action] =
            std::array::from_fn(|column| self.get(fields, column).unwrap_or_default());
        let path = TargetPath::try_from(path).map_err(|error| Mistake::new(number, format!("path: {error}")))?;
        match action {
            "" | "add" => entry(number, path, length, algorithm, digest).map(Row::Add),
            "remove" if [length, algorithm, digest].iter().all(|field| field.is_empty()) => Ok(Row::Remove(path)),
            "remove" => Err(Mistake::new(number, "a removal has a path and nothing else")),
            other => Err(Mistake::field(number, "action", other, "add, remove or nothing")),
        }
    }
}

fn entry(number: u64, path: TargetPath, length: &str, algorithm: &str, digest: &str) -> Result<Entry, Mistake> {
    let bytes = length.parse::<u64>().ok().filter(|bytes| *bytes <= rstuf_tuf::json::INTEGER_MAX);
    let bytes = bytes.ok_or_else(|| Mistake::field(number, "length", length, "bytes, 0 to 2^53 - 1"))?;
    let checked = algorithm.parse::<HashAlgorithm>();
    let checked = checked.map_err(|error| Mistake::new(number, format!("algorithm: {error}")))?;
    let digits = checked.digest_bytes() * 2;
    if digest.len() != digits || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        let allowed = format!("{digits} lower-case hexadecimal digits");
        return Err(Mistake::field(number, "digest", digest, &allowed));
    }
    Ok(Entry { number, path, length: bytes, algorithm: checked, digest: digest.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, delimiter: char) -> (Vec<Change>, Vec<String>) {
        let mut rows = Rows::new(Lines::new(text.as_bytes()), delimiter);
        let (mut changes, mut mistakes) = (Vec::new(), Vec::new());
        loop {
            match rows.next_change() {
                Ok(Some(change)) => changes.push(change),
                Ok(None) => return (changes, mistakes),
                Err(Wrong::Line(mistake)) => mistakes.push(mistake.to_string()),
                Err(Wrong::Source(error)) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn neighbouring_rows_of_one_path_are_one_artifact() {
        let (short, long) = ("ab".repeat(32), "cd".repeat(64));
        let text = format!(
            "path;length;algorithm;digest\r\na/b;5;sha512;{long}\na/b;5;sha256;{short}\n\n\
             \"x;\"\"y\";0;sha256;{short}\nz;9007199254740991;sha256;{short}"
        );
        let (changes, mistakes) = read(&text, ';');
        assert_eq!(mistakes, Vec::<String>::new());
        let paths: Vec<_> = changes.iter().map(|change| change.path().as_str()).collect();
        assert_eq!(paths, ["a/b", "x;\"y", "z"]);
        let Change::Add { target, .. } = &changes[0] else { panic!("an addition") };
        assert_eq!(target.length(), 5);
        let hashes: Vec<_> = target.hashes().iter().map(|(name, digest)| (name.to_owned(), digest)).collect();
        assert_eq!(hashes, [("sha256".to_owned(), short), ("sha512".to_owned(), long)]);
        assert!(read("", ';').0.is_empty());
    }

    #[test]
    fn the_first_line_may_order_the_columns_and_rows_may_remove() {
        let short = "ab".repeat(32);
        let text = format!("Action,digest,algorithm,length,Path\nremove,,,,gone\n,{short},sha256,1,\"a,b\"\n");
        let (changes, mistakes) = read(&text, ',');
        assert_eq!(mistakes, Vec::<String>::new());
        assert!(matches!(&changes[..], [Change::Remove { path }, Change::Add { path: added, .. }]
            if path.as_str() == "gone" && added.as_str() == "a,b"));
        let (unsaid, mistakes) = read("gone;;;;remove\n", ';');
        assert!(mistakes.is_empty() && matches!(&unsaid[..], [Change::Remove { .. }]));
        let (_, mistakes) = read("path,length,digest\n", ',');
        let named = "allowed: such as path,length,algorithm,digest";
        assert_eq!(mistakes, [format!("line 1: there is no column \"algorithm\", {named}")]);
        let (_, mistakes) = read("path;length;sha256\na;1;x\n", ';');
        assert_eq!(mistakes.len(), 1);
        for part in ["\"sha256\"", "such as path;length;algorithm;digest", "with sha256 and its digest in the lines"] {
            assert!(mistakes[0].contains(part), "{part} in {mistakes:?}");
        }
    }

    /// Also where the column that is called otherwise is the one of the length.
    #[test]
    fn a_first_line_with_an_unknown_column_is_no_row() {
        for (text, unknown) in [
            ("digest,path,algorithm,size\nab,a,sha256,5\n", "size"),
            ("path,size,sha256\na,5,ab\n", "size"),
            ("path,bytes,algorithm,digest\n", "bytes"),
        ] {
            let (changes, mistakes) = read(text, ',');
            assert!(changes.is_empty() && mistakes.len() == 1, "{mistakes:?}");
            for part in ["line 1", &format!("{unknown:?}"), "path, length, algorithm, digest, action"] {
                assert!(mistakes[0].contains(part), "{part} in {mistakes:?}");
            }
        }
        let (changes, mistakes) = read(&format!("length,5,sha256,{}\npath,,,,remove\n", "ab".repeat(32)), ',');
        assert!(mistakes.is_empty() && changes.len() == 2, "{mistakes:?}");
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
            ("a;1;;;remove".to_owned(), vec!["line 2", "nothing else"]),
            ("a;;;;drop".to_owned(), vec!["line 2", "action", "\"drop\""]),
            ("\"a;1".to_owned(), vec!["line 2", "quotation mark"]),
            ("\"a\"b;1".to_owned(), vec!["line 2", "\"b;1\"", "behind"]),
        ];
        for (line, parts) in cases {
            let (changes, mistakes) = read(&format!("{good}{line}\n{good}"), ';');
            assert!(!changes.is_empty() && mistakes.len() == 1, "{line}: {mistakes:?}");
            assert!(parts.iter().all(|part| mistakes[0].contains(part)), "{mistakes:?} lacks one of {parts:?}");
        }
    }

    /// What follows from a mistake is not another one.
    #[test]
    fn a_mistake_is_told_once() {
        let text = format!("a;1;sha256;x\na;1;sha512;{}\nb;1;sha256;y\n", "cd".repeat(64));
        let (_, mistakes) = read(&text, ';');
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }
}
