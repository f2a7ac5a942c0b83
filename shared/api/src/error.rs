//! Error kinds, and the one table from them to gRPC codes.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::Refusal;

/// `ErrorInfo.domain` of every reason of ours.
const DOMAIN: &str = "rstuf";

/// Error details travel in HTTP/2 headers, which peers bound: no more violations than this are named in one answer.
const VIOLATIONS_MAX: usize = 20;

/// No description or message is longer than this in an answer, in bytes; what is cut ends in `…`.
const MESSAGE_BYTES_MAX: usize = 300;

/// After this long at the earliest a caller may try again what waiting helps.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What went wrong, as far as a caller must tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request can never succeed as it is.
    InvalidArgument,
    /// What it names does not exist.
    NotFound,
    /// What it would make exists, and differs.
    AlreadyExists,
    /// The system is not in the state that the request needs; a person has to act first.
    FailedPrecondition,
    /// Too much at once: try again later.
    ResourceExhausted,
    /// Not now: try again with the same request id.
    Unavailable,
    /// A defect or a broken disk of ours.
    Internal,
}

impl ErrorKind {
    /// The code; the reason for programs where the error has none of its own; after how long the same may help.
    fn answer(self) -> (Code, Refusal, Option<Duration>) {
        match self {
            Self::InvalidArgument => (Code::InvalidArgument, Refusal::InvalidField, None),
            Self::NotFound => (Code::NotFound, Refusal::NotFound, None),
            Self::AlreadyExists => (Code::AlreadyExists, Refusal::Exists, None),
            Self::FailedPrecondition => (Code::FailedPrecondition, Refusal::WrongState, None),
            Self::ResourceExhausted => (Code::ResourceExhausted, Refusal::QueueFull, Some(RETRY_DELAY)),
            Self::Unavailable => (Code::Unavailable, Refusal::Unavailable, Some(RETRY_DELAY)),
            Self::Internal => (Code::Internal, Refusal::Internal, None),
        }
    }
}

/// An error that can be answered over gRPC. Each service's `Error` implements it without a catch-all arm, so that a
/// new variant forces a decision.
pub trait Kinded: std::error::Error {
    /// Decides the gRPC code.
    fn kind(&self) -> ErrorKind;

    /// A stable reason for programs, and what belongs to it.
    fn reason(&self) -> Option<Reason> {
        None
    }

    /// The fields at fault, for [`ErrorKind::InvalidArgument`].
    fn violations(&self) -> &[Violation] {
        &[]
    }
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the request, for example `changes[3].add.path`.
    pub field: String,
    /// The value and what is allowed.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: &str, description: impl Into<String>) -> Self {
        Self { field: field.to_owned(), description: description.into() }
    }

    /// The same, with the place that holds the field put before it.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        Self { field: format!("{place}.{}", self.field), ..self }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// A reason for programs, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which reason it is.
    pub name: Refusal,
    /// For example `role` -> `bins-0a`.
    pub metadata: HashMap<String, String>,
}

impl Reason {
    /// A reason with nothing to add.
    pub fn new(name: Refusal) -> Self {
        Self { name, metadata: HashMap::new() }
    }

    /// Adds what belongs to it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Reads the reason out of an answer; none for one that is not known here.
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_error_details().error_info().filter(|info| info.domain == DOMAIN)?.clone();
        Some(Self { name: Refusal::parse(&info.reason)?, metadata: info.metadata })
    }
}

/// Reads the fields at fault out of an answer.
pub fn violations(status: &Status) -> Vec<Violation> {
    let details = status.get_error_details();
    let Some(bad) = details.bad_request() else { return Vec::new() };
    let read =
        |v: &tonic_types::FieldViolation| Violation { field: v.field.clone(), description: v.description.clone() };
    bad.field_violations.iter().map(read).collect()
}

/// Makes the answer of an error. An internal error is logged here, in full, and answered without its details: they are
/// for the people who run the service.
pub fn status(error: impl Kinded + 'static) -> Status {
    let (code, refusal, retry) = error.kind().answer();
    let reason = error.reason().unwrap_or_else(|| Reason::new(refusal));
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.name.as_str(), DOMAIN, reason.metadata);
    if error.kind() == ErrorKind::Internal {
        tracing::error!(error = &error as &dyn std::error::Error, "request failed");
        return Status::with_error_details(code, "internal error: the service's log says more", details);
    }
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    for violation in error.violations().iter().take(VIOLATIONS_MAX) {
        details.add_bad_request_violation(&violation.field, cut(&violation.description));
    }
    Status::with_error_details(code, cut(&error.to_string()), details)
}

fn cut(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("submission refused: {}", "x".repeat(4 * MESSAGE_BYTES_MAX))]
    struct Refused(Vec<Violation>);

    impl Kinded for Refused {
        fn kind(&self) -> ErrorKind {
            ErrorKind::InvalidArgument
        }
        fn reason(&self) -> Option<Reason> {
            Some(Reason::new(Refusal::DocumentTooLarge).with("submissions", "1,2"))
        }
        fn violations(&self) -> &[Violation] {
            &self.0
        }
    }

    /// An answer must fit into the headers of any peer, however bad the request was, and still say what is wrong.
    #[test]
    fn answers_are_bounded_and_readable() {
        let long = Violation { field: "changes[0].add.path".into(), description: "ä".repeat(10_000) };
        let status = status(Refused(vec![long; 10_000]));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.details().len() < 16 * 1024 && status.message().len() <= MESSAGE_BYTES_MAX + 3);
        assert_eq!(violations(&status).len(), VIOLATIONS_MAX);
        let reason = Reason::of(&status).expect("reason travels");
        assert_eq!((reason.name, reason.metadata["submissions"].as_str()), (Refusal::DocumentTooLarge, "1,2"));
    }
}
