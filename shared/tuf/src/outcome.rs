//! What changes did, and the one form in which stores keep that.

use std::{fmt, iter};

use crate::{Error, macros::text_type};

/// What a change did. No well-formed change can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The path is new.
    Added,
    /// The path had another target.
    Replaced,
    /// The path had this very target.
    Unchanged,
    /// The path is gone.
    Removed,
    /// There was no such path to remove.
    NotFound,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Added, Self::Replaced, Self::Unchanged, Self::Removed, Self::NotFound];

    fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Replaced => 'R',
            Self::Unchanged => 'U',
            Self::Removed => 'D',
            Self::NotFound => 'N',
        }
    }

    fn of_letter(letter: char) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.letter() == letter);
        found.ok_or_else(|| Error::invalid("outcome", letter, "A, R, U, D or N"))
    }
}

/// Outcomes of changes, in the order of the changes: millions of them stand in one row, and most are alike.
///
/// As text, and in memory, each run of equal ones is a letter, `A`dded, `R`eplaced, `U`nchanged, removed (`D`) or `N`ot
/// found, followed by its length where that is more than 1: `A1000000UA2`. That is never longer than a letter for each
/// would be. Such text, as it was written before there were lengths, is read alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// As text: all runs but the last one.
    closed: String,
    /// The last run.
    open: Option<Run>,
    len: usize,
}

/// Equal outcomes, one behind the other: at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    outcome: Outcome,
    count: usize,
}

impl Outcomes {
    /// How many are read from text: more than the changes of one request can be, which signers keep in at most 4 GiB,
    /// with more than 8 bytes for each.
    pub const LEN_MAX: usize = 1 << 29;

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Outcome> {
        each(self.closed.as_str(), self.open)
    }

    /// In order.
    pub fn into_each(self) -> impl Iterator<Item = Outcome> {
        each(self.closed, self.open)
    }

    fn push(&mut self, run: Run) {
        self.len += run.count;
        match &mut self.open {
            Some(open) if open.outcome == run.outcome => open.count += run.count,
            open => {
                if let Some(closed) = open.replace(run) {
                    closed.write(&mut self.closed);
                }
            }
        }
    }

    /// Text that claims more takes no more memory than it has bytes.
    fn parse(text: &str) -> Result<Self, Error> {
        let mut outcomes = Self::default();
        for run in (Runs { text, at: 0 }) {
            let run = run?;
            if run.count > Self::LEN_MAX - outcomes.len {
                let count = outcomes.len.saturating_add(run.count);
                return Err(Error::invalid("outcomes", count, format!("at most {}", Self::LEN_MAX)));
            }
            outcomes.push(run);
        }
        Ok(outcomes)
    }
}

text_type!(Outcomes);

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = String::new();
        self.open.iter().for_each(|run| run.write(&mut last));
        write!(f, "{}{last}", self.closed)
    }
}

impl Extend<Outcome> for Outcomes {
    fn extend<T: IntoIterator<Item = Outcome>>(&mut self, more: T) {
        more.into_iter().for_each(|outcome| self.push(Run { outcome, count: 1 }));
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<T: IntoIterator<Item = Outcome>>(all: T) -> Self {
        let mut outcomes = Self::default();
        outcomes.extend(all);
        outcomes
    }
}

/// `closed` was written here, so all of it can be read.
fn each<T: AsRef<str>>(closed: T, open: Option<Run>) -> impl Iterator<Item = Outcome> {
    let runs = Runs { text: closed, at: 0 }.map_while(Result::ok).chain(open);
    runs.flat_map(|run| iter::repeat_n(run.outcome, run.count))
}

impl Run {
    fn write(self, text: &mut String) {
        text.push(self.outcome.letter());
        if self.count > 1 {
            text.push_str(&self.count.to_string());
        }
    }

    fn parse(letter: char, count: &str) -> Result<Self, Error> {
        let outcome = Outcome::of_letter(letter)?;
        if count.is_empty() {
            return Ok(Self { outcome, count: 1 });
        }
        match count.parse() {
            Ok(parsed) if parsed > 1 && !count.starts_with('0') => Ok(Self { outcome, count: parsed }),
            _ => Err(Error::invalid("length of a run of outcomes", count, "a number from 2")),
        }
    }
}

/// Reads runs off a text.
struct Runs<T> {
    text: T,
    /// Where the next one begins.
    at: usize,
}

impl<T: AsRef<str>> Iterator for Runs<T> {
    type Item = Result<Run, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.text.as_ref().get(self.at..)?;
        let letter = rest.chars().next()?;
        let count = &rest[letter.len_utf8()..];
        let count = &count[..count.bytes().take_while(u8::is_ascii_digit).count()];
        self.at += letter.len_utf8() + count.len();
        Some(Run::parse(letter, count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(Outcome::ALL.to_vec())
    }

    proptest! {
        /// Whatever it is and however it was put together; read back from a letter for each as well.
        #[test]
        fn what_is_written_is_read_back(
            runs in prop::collection::vec((outcome(), prop_oneof![1..3_usize, 8..12_usize, 1..2_000_usize]), 0..20),
            split in 0..10_000_usize,
        ) {
            let all: Vec<_> = runs.into_iter().flat_map(|(outcome, count)| iter::repeat_n(outcome, count)).collect();
            let (first, rest) = all.split_at(split.min(all.len()));
            let mut outcomes: Outcomes = first.iter().copied().collect();
            outcomes.extend(rest.iter().copied());
            prop_assert_eq!(outcomes.len(), all.len());
            let text = outcomes.to_string();
            let letters: String = all.iter().map(|outcome| outcome.letter()).collect();
            prop_assert!(text.len() <= letters.len(), "{text} for {letters}");
            for text in [text, letters] {
                let read: Outcomes = text.parse().unwrap();
                prop_assert_eq!(&read, &outcomes);
                prop_assert_eq!(read.iter().collect::<Vec<_>>(), all.clone());
                prop_assert_eq!(read.into_each().collect::<Vec<_>>(), all.clone());
            }
        }

        /// Damage is refused or gives other outcomes, never more than may be.
        #[test]
        fn any_text_is_refused_or_read(text in "[ARUDN0-9a-zé]{0,40}") {
            if let Ok(read) = text.parse::<Outcomes>() {
                prop_assert!(read.len() <= Outcomes::LEN_MAX);
                prop_assert_eq!(read.to_string().parse::<Outcomes>().unwrap(), read);
            }
        }
    }

    #[test]
    fn equal_outcomes_take_a_few_bytes_and_others_a_letter() {
        let million = |outcome: fn(usize) -> Outcome| (0..1_000_000).map(outcome).collect::<Outcomes>();
        assert_eq!(serde_json::to_string(&million(|_| Outcome::Added)).unwrap(), "\"A1000000\"");
        let alternating = million(|at| Outcome::ALL[at % 2]);
        assert_eq!((alternating.to_string().len(), alternating.closed.len()), (1_000_000, 999_999));
        assert_eq!(serde_json::to_string(&Outcomes::default()).unwrap(), "\"\"");
    }

    #[test]
    fn what_is_no_outcome_is_refused() {
        let most = format!("A{}", Outcomes::LEN_MAX);
        assert_eq!(most.parse::<Outcomes>().unwrap().len(), Outcomes::LEN_MAX);
        for text in ["X", "AX", "3", "3A", "A0", "A1", "A02", "A-2", "A 2", "a", "é2", "A99999999999999999999999"] {
            assert!(text.parse::<Outcomes>().is_err(), "{text}");
        }
        for text in ["R", "A", "R2", "R18446744073709551615"] {
            assert!(format!("{most}{text}").parse::<Outcomes>().is_err(), "{text}");
        }
    }
}
