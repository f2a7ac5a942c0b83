//! What is not allowed of the fields of a request, as one error.

use rstuf_api::Violation;

use super::Error;

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid { violations: vec![violation] }
    }
}

impl From<Vec<Violation>> for Error {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid { violations }
    }
}

/// The first of them, and how many more there are.
pub(super) fn summary(violations: &[Violation]) -> String {
    match violations {
        [] => "invalid request".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}
