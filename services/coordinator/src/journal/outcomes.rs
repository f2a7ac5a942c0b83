//! How the changes of a batch under way ended: one letter each, the only alphabet that the journal has.

use rstuf_tuf::Outcome;
use serde::{Deserialize, Serialize};

/// Outcomes of one role's changes, in their order; `A`dded, `R`eplaced, `U`nchanged, removed (`D`) and `N`ot found on
/// disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Outcomes(Vec<Outcome>);

impl Outcomes {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Without the first ones.
    pub(crate) fn skip(&mut self, count: usize) {
        self.0.drain(..count.min(self.0.len()));
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Outcome> {
        self.0.iter().copied()
    }
}

impl Extend<Outcome> for Outcomes {
    fn extend<T: IntoIterator<Item = Outcome>>(&mut self, more: T) {
        self.0.extend(more);
    }
}

impl From<Outcomes> for String {
    fn from(outcomes: Outcomes) -> Self {
        outcomes.iter().map(Outcome::letter).collect()
    }
}

impl TryFrom<String> for Outcomes {
    type Error = String;

    fn try_from(letters: String) -> Result<Self, String> {
        let outcome = |letter| Outcome::of_letter(letter).ok_or_else(|| format!("`{letter}` stands for no outcome"));
        letters.chars().map(outcome).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn letters_are_read_back() {
        let outcomes: Outcomes = serde_json::from_str("\"ARUDN\"").unwrap();
        assert_eq!(outcomes.len(), 5);
        assert_eq!(serde_json::to_string(&outcomes).unwrap(), "\"ARUDN\"");
        assert!(serde_json::from_str::<Outcomes>("\"AX\"").is_err());
    }
}
