//! What is not allowed of the fields of a request, in one line.

use rstuf_api::Violation;

/// The first of them, and how many more there are.
pub(super) fn summary(violations: &[Violation]) -> String {
    match violations {
        [] => "invalid request".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}
