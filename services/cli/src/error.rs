//! Why a command did not do what it was asked, and what to do next.

use std::fmt;

use serde::Serialize;

/// How the process ends. The numbers are a promise to scripts; above 2 they are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It was refused, or it failed; the same again will fail again.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Nobody answers at the server's address.
    Unreachable = 69,
    /// It did not work now, or it is not known whether it did; the same again, with the same request id, is safe.
    TryAgain = 75,
    /// A configuration file or an environment variable is wrong.
    Config = 78,
}

impl Exit {
    /// The word for it in JSON.
    #[must_use]
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Unreachable => "unreachable",
            Exit::TryAgain => "try_again",
            Exit::Config => "config",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// One field of a request that the coordinator refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// The field's place in the request, for example `changes[3].add.path`.
    pub(crate) field: String,
    /// What is wrong with its value.
    pub(crate) description: String,
}

/// Why a command ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What is wrong.
    pub(crate) message: String,
    /// What the person can do about it.
    pub(crate) next: Option<String>,
    /// Fields that the coordinator refused.
    pub(crate) violations: Vec<Violation>,
}

impl Error {
    fn new(exit: Exit, message: impl Into<String>) -> Error {
        Error { exit, message: message.into(), next: None, violations: Vec::new() }
    }

    /// Refused or failed.
    pub(crate) fn failed(message: impl Into<String>) -> Error {
        Error::new(Exit::Failed, message)
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::new(Exit::Usage, message)
    }

    /// Nobody answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> Error {
        Error::new(Exit::Unreachable, message)
    }

    /// Not now, or not known.
    pub(crate) fn try_again(message: impl Into<String>) -> Error {
        Error::new(Exit::TryAgain, message)
    }

    /// The configuration is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new(Exit::Config, message)
    }

    /// The same, saying what to do next.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Error {
        self.next = Some(next.into());
        self
    }

    /// The same, with the refused fields.
    #[must_use]
    pub(crate) fn violations(mut self, violations: Vec<Violation>) -> Error {
        self.violations = violations;
        self
    }

    /// As one JSON object: `{"error": {"kind", "exit_code", "message", "next", "violations"}}`.
    #[must_use]
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "kind": self.exit.kind(),
            "exit_code": self.exit as u8,
            "message": self.message,
            "next": self.next,
            "violations": self.violations,
        }})
    }
}

/// Violations that a person is shown; JSON has them all.
const VIOLATIONS_SHOWN_MAX: usize = 20;

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        let lines = self.violations.iter().map(|it| format!("{}: {}", it.field, it.description));
        let lines: Vec<_> = lines.filter(|line| !self.message.contains(line)).collect();
        for line in lines.iter().take(VIOLATIONS_SHOWN_MAX) {
            write!(formatter, "\n  {line}")?;
        }
        if lines.len() > VIOLATIONS_SHOWN_MAX {
            write!(formatter, "\n  and {} more", lines.len() - VIOLATIONS_SHOWN_MAX)?;
        }
        match &self.next {
            Some(next) => write!(formatter, "\n{next}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_is_wrong_and_what_to_do_for_people_and_for_programs() {
        let violations = (0..25).map(|at| Violation { field: format!("changes[{at}]"), description: "bad".into() });
        let error = Error::failed("refused").next("mend it").violations(violations.collect());
        let text = error.to_string();
        assert!(text.starts_with("refused\n  changes[0]: bad\n"), "{text}");
        assert!(text.contains("changes[19]") && !text.contains("changes[20]"), "{text}");
        assert!(text.ends_with("and 5 more\nmend it"), "{text}");
        let json = error.to_json();
        assert_eq!(json["error"]["exit_code"], 1);
        assert_eq!(json["error"]["kind"], "failed");
        assert_eq!(json["error"]["violations"].as_array().unwrap().len(), 25);
        assert_eq!(Error::usage("x").to_json()["error"]["next"], serde_json::Value::Null);
    }
}
