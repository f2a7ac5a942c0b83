//! What a gRPC status means for whoever runs the command, and what to do next.

use std::{error::Error as _, io, net::IpAddr};

use rstuf_api::{Reason, Refusal};
use rstuf_runtime::retry::is_broken_connection;
use tonic::{Code, ConnectError, Status, TimeoutExpired, transport::Uri};

use crate::error::{Error, Exit, Violation};

/// What to do about a coordinator that is there and has no place for a call.
const BUSY: &str = "try again in a moment; where it stays so, the coordinator's log names the limit that is reached \
                    (connections_max, requests_max or peer_percent_max)";

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
    matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded | Code::Aborted)
        || is_broken_connection(status)
        || is_silence(status)
}

/// Whether somebody took the call, and then did not even answer a ping.
pub(super) fn is_silence(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.source().is_some() && !is_unconnected(status)
}

/// Whether there was nobody who could have taken the call.
fn is_unconnected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// Whether nobody listens there; elsewhere a connection may fail for other reasons.
fn is_refused(status: &Status) -> bool {
    let mut causes = causes(status).filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether somebody took the connection and closed it before the answer was there: a coordinator does so where it has
/// as many connections as it may have. A status that came over the connection has no cause, and one whose time was up
/// has that.
fn is_closed(status: &Status) -> bool {
    let is_cancelled = status.code() == Code::Cancelled && status.source().is_some();
    is_broken_connection(status) || is_cancelled && !causes(status).any(|cause| cause.is::<TimeoutExpired>())
}

/// How a call ends whose last attempt ended with `error`, after an earlier one may have taken effect.
pub(super) fn unknown_before(error: Error) -> Error {
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
        Code::Unavailable if is_silence(status) => unknown(call, silence(server)),
        Code::Unavailable if status.source().is_some() => {
            let message = format!("no coordinator answers at {server} ({})", root_cause(status));
            let next = if !is_refused(status) {
                "look whether that is its address and the way there is free, or name another with --server or \
                 RSTUF_SERVER; one that is too busy to take connections looks the same"
            } else if is_local(server) {
                "start it, or name another with --server or RSTUF_SERVER; `rstuf dev` is one to try things with"
            } else {
                "start it, or name another with --server or RSTUF_SERVER"
            };
            Error::unreachable(message).next(next)
        }
        // What the coordinator refuses for reasons of its own has a name.
        Code::ResourceExhausted if Reason::of(status).is_none() => {
            Error::try_again(format!("the coordinator at {server} is busy: {message}")).next(BUSY)
        }
        Code::Unavailable | Code::ResourceExhausted => Error::try_again(message).next("try again in a moment"),
        _ if is_closed(status) => {
            let cause = root_cause(status);
            let message = format_args!(
                "the coordinator at {server} closed the connection before it had answered ({cause}): it is busy, or \
                 was stopped"
            );
            unknown(call, message).next(BUSY)
        }
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
            unknown(call, format_args!("the coordinator at {server} did not answer in time ({message})"))
        }
        Code::Unimplemented => no_coordinator(format!("{server} is not a coordinator, or an older one ({message})")),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Error::failed(format!("the coordinator at {server} failed: {message}")).next("its log says more")
        }
        _ => {
            let violation = |it: rstuf_api::Violation| Violation { field: it.field, description: it.description };
            let violations = rstuf_api::violations(status).into_iter().map(violation).collect();
            let error = Error::failed(message).violations(violations);
            advice(status).map_or(error.clone(), |advice| error.next(advice))
        }
    }
}

/// What to do where the coordinator refused for a reason that the command knows a way around.
fn advice(status: &Status) -> Option<&'static str> {
    match Reason::of(status)?.name {
        Refusal::TaskFinished => Some(
            "`rstuf task get` shows how it ended; if it is done, `rstuf task results` shows what it changed, and \
             `rstuf artifact add` and `rstuf artifact remove` change that back",
        ),
        Refusal::TaskNotSetAside => Some("`rstuf task get` shows how it stands"),
        Refusal::TaskRunning => Some("`rstuf task watch` follows it"),
        _ => None,
    }
}

/// That somebody took the connection and says nothing.
pub(crate) fn silence(server: &str) -> String {
    format!("the coordinator at {server} does not answer: it hangs, or the network to it does")
}

/// Whether `server` is on this machine.
fn is_local(server: &str) -> bool {
    let uri = server.parse::<Uri>().unwrap_or_default();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn root_cause(status: &Status) -> String {
    causes(status).last().map(ToString::to_string).unwrap_or_default()
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was sent to a coordinator that hangs may still take effect; what nobody took can't.
    #[test]
    fn silence_is_told_from_nobody() {
        let cause = || Box::new(std::io::Error::other("why"));
        let mut silent = Status::unavailable("operation timed out");
        silent.set_source(std::sync::Arc::from(cause() as Box<dyn std::error::Error + Send + Sync>));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let nobody = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        assert!(is_unknown(&silent) && !is_unknown(&nobody), "{silent:?} {nobody:?}");
        let [near, far] = ["http://[::1]:1", "http://10.0.0.1:1"].map(|at| explain(&nobody, at, Call::Write));
        assert_eq!((near.exit, far.exit), (Exit::Unreachable, Exit::Unreachable));
        assert!(near.to_string().contains("rstuf dev") && !far.to_string().contains("rstuf dev"), "{near} {far}");
        for call in [Call::Read, Call::Write] {
            let error = explain(&silent, "http://a:1", call);
            assert_eq!(error.exit, Exit::TryAgain);
            assert!(
                error.message.contains("http://a:1 does not answer") && !error.to_string().contains("dev"),
                "{error}"
            );
        }
    }

    /// Somebody may be there who has no time to answer.
    #[test]
    fn one_is_to_be_started_only_where_nobody_listens() {
        let late = io::Error::from(io::ErrorKind::TimedOut);
        let late = explain(&Status::from_error(Box::new(ConnectError(Box::new(late)))), "http://[::1]:1", Call::Read);
        assert_eq!(late.exit, Exit::Unreachable);
        let waited = explain(&Status::from_error(Box::new(TimeoutExpired(()))), "http://a:1", Call::Read);
        assert!(waited.message.contains("did not answer in time") && !waited.to_string().contains("busy"), "{waited}");
        assert!(!late.to_string().contains("start") && late.to_string().contains("busy"), "{late}");
    }

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
