//! What a gRPC status means for whoever runs the command, and what to do next.

use std::error::Error as _;

use rstuf_runtime::retry::is_broken_connection;
use tonic::{Code, Status};

use crate::error::{Error, Exit, Violation};

/// What to do where a call may have taken effect.
const UNKNOWN_NEXT: &str =
    "whether it took effect is unknown: run the same again with the same --request-id, if it has one";

/// How a call ends whose last attempt ended with `error`, and an earlier one with [`Exit::TryAgain`]: that one may have
/// taken effect before the coordinator went away.
pub(crate) fn unknown_before(error: Error) -> Error {
    match error.exit {
        Exit::Unreachable => Error::try_again(error.message).next(UNKNOWN_NEXT),
        _ => error,
    }
}

/// Puts a status into words that say what to do next.
pub(crate) fn explain(status: &Status, server: &str) -> Error {
    let message = status.message();
    match status.code() {
        // Only a status that was made on this side has a cause: the coordinator did not say this itself.
        Code::Unavailable if status.source().is_some() => {
            let message = format!("no coordinator answers at {server} ({})", root_cause(status));
            Error::unreachable(message).next("start one with `rstuf dev`, or name it with --server or RSTUF_SERVER")
        }
        Code::Unavailable | Code::ResourceExhausted => Error::try_again(message).next("try again in a moment"),
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
            Error::try_again(format!("the coordinator at {server} did not answer in time ({message})"))
                .next(UNKNOWN_NEXT)
        }
        Code::Unimplemented => Error::failed(format!("{server} is no coordinator, or an older one ({message})"))
            .next("name the coordinator with --server"),
        Code::Internal | Code::Unknown if is_broken_connection(status) => {
            Error::try_again(format!("the connection to {server} broke ({})", root_cause(status))).next(UNKNOWN_NEXT)
        }
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Error::failed(format!("the coordinator at {server} failed: {message}")).next("its log says more")
        }
        _ => {
            let violation = |it: rstuf_api::Violation| Violation { field: it.field, description: it.description };
            Error::failed(message).violations(rstuf_api::violations(status).into_iter().map(violation).collect())
        }
    }
}

fn root_cause(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_ends_in_the_documented_way() {
        let exits = [
            (Code::Unavailable, Exit::TryAgain),
            (Code::ResourceExhausted, Exit::TryAgain),
            (Code::Cancelled, Exit::TryAgain),
            (Code::DeadlineExceeded, Exit::TryAgain),
            (Code::InvalidArgument, Exit::Failed),
            (Code::NotFound, Exit::Failed),
            (Code::AlreadyExists, Exit::Failed),
            (Code::FailedPrecondition, Exit::Failed),
            (Code::OutOfRange, Exit::Failed),
            (Code::Unimplemented, Exit::Failed),
            (Code::Internal, Exit::Failed),
        ];
        for (code, exit) in exits {
            assert_eq!(explain(&Status::new(code, "why"), "http://a:1").exit, exit, "{code:?}");
        }
    }
}
