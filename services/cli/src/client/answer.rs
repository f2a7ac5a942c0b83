//! What a gRPC status means for whoever runs the command, and what to do next.

use std::error::Error as _;

use rstuf_runtime::retry::is_broken_connection;
use tonic::{Code, Status};

use crate::error::{Error, Exit, Violation};

/// What a call does to the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Nothing.
    Read,
    /// It may have taken effect although no answer came.
    Write,
}

/// Whether a call that ended with `status` may have taken effect.
pub(super) fn is_unknown(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded | Code::Aborted) || is_broken_connection(status)
}

/// How a call ends whose last attempt ended with `error`, after an earlier one may have taken effect.
pub(crate) fn unknown_before(error: Error) -> Error {
    match error.exit {
        Exit::Unreachable => unknown(Call::Write, error.message),
        _ => error,
    }
}

/// The end of a call whose answer is missing.
fn unknown(call: Call, message: impl std::fmt::Display) -> Error {
    match call {
        Call::Read => Error::try_again(message.to_string()).next("try again in a moment"),
        Call::Write => Error::try_again(format!("whether it took effect is unknown: {message}")),
    }
}

/// What answers there is something else, and stays so.
pub(super) fn no_coordinator(message: String) -> Error {
    Error::failed(message)
        .next("name the coordinator with --server or RSTUF_SERVER; it listens at port 50051 by default")
}

/// Puts a status into words that say what to do next.
pub(super) fn explain(status: &Status, server: &str, call: Call) -> Error {
    let message = status.message();
    match status.code() {
        // Only a status that was made on this side has a cause: the coordinator did not say this itself.
        Code::Unavailable if status.source().is_some() => {
            let message = format!("no coordinator answers at {server} ({})", root_cause(status));
            Error::unreachable(message)
                .next("start it, or name another with --server or RSTUF_SERVER; `rstuf dev` is one to try things with")
        }
        Code::Unavailable | Code::ResourceExhausted => Error::try_again(message).next("try again in a moment"),
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
            unknown(call, format_args!("the coordinator at {server} did not answer in time ({message})"))
        }
        Code::Unimplemented => no_coordinator(format!("{server} is not a coordinator, or an older one ({message})")),
        Code::Internal | Code::Unknown if is_broken_connection(status) => {
            unknown(call, format_args!("the connection to {server} broke ({})", root_cause(status)))
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
            for call in [Call::Read, Call::Write] {
                let error = explain(&Status::new(code, "why"), "http://a:1", call);
                assert_eq!(error.exit, exit, "{code:?}");
                let unknown = error.to_string().contains("took effect");
                assert_eq!(unknown, call == Call::Write && is_unknown(&Status::new(code, "why")), "{code:?}: {error}");
            }
        }
    }
}
