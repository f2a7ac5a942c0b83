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
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::TryAgain => "try_again",
            Self::Config => "config",
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
    /// The task that it is about.
    pub(crate) task: Option<Box<str>>,
    /// The request id that was sent.
    pub(crate) request_id: Option<Box<str>>,
}

impl Error {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message, next: None, violations: Vec::new(), task: None, request_id: None }
    }

    /// Refused or failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Nobody answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, message)
    }

    /// Not now, or not known.
    pub(crate) fn try_again(message: impl Into<String>) -> Self {
        Self::new(Exit::TryAgain, message)
    }

    /// The configuration is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// The same, saying what to do next.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The same, with the refused fields.
    #[must_use]
    pub(crate) fn violations(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations;
        self
    }

    /// The same, naming the task that it is about.
    #[must_use]
    pub(crate) fn of_task(mut self, id: &str) -> Self {
        self.task = Some(id.into());
        self
    }

    /// The same, naming the request id that was sent.
    #[must_use]
    pub(crate) fn of_request(mut self, id: &str) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// What this error means where something was accepted before, of which it keeps us from hearing: only the
    /// coordinator that accepted it can tell, so there is no advice to look elsewhere.
    #[must_use]
    pub(crate) fn after(self, accepted: impl fmt::Display) -> Self {
        let message = format!("{accepted}: {}", self.message);
        match self.exit {
            Exit::Unreachable | Exit::TryAgain => Self { exit: Exit::TryAgain, message, next: None, ..self },
            _ => Self { message, ..self },
        }
    }

    /// What to do, line by line. Where the end is open, the ids are how to get at it.
    fn steps(&self) -> Vec<String> {
        let mut steps: Vec<_> = self.next.iter().cloned().collect();
        let open = self.exit == Exit::TryAgain;
        match (&self.task, &self.request_id) {
            (Some(task), request) if open => {
                steps.push(format!("follow the task with `rstuf task watch {task}`"));
                steps.extend(request.iter().map(|id| format!("its request id is {id}")));
            }
            (None, Some(request)) if open => {
                let id = quoted(request);
                steps.push(format!("`rstuf task get --request-id {id}` tells whether it was accepted"));
                steps.push(format!("the same again is safe with --request-id {id}"));
            }
            _ => {}
        }
        steps
    }

    /// As one JSON object: `{"error": {"kind", "exit_code", "message", "next", "task", "request_id", "violations"}}`.
    #[must_use]
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let steps = self.steps();
        serde_json::json!({"error": {
            "kind": self.exit.kind(),
            "exit_code": self.exit as u8,
            "message": self.message,
            "next": (!steps.is_empty()).then(|| steps.join("; ")),
            "task": self.task,
            "request_id": self.request_id,
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
        if !lines.is_empty() {
            formatter.write_str(":")?;
        }
        for line in lines.iter().take(VIOLATIONS_SHOWN_MAX) {
            write!(formatter, "\n  {line}")?;
        }
        if lines.len() > VIOLATIONS_SHOWN_MAX {
            write!(formatter, "\n  and {} more", lines.len() - VIOLATIONS_SHOWN_MAX)?;
        }
        self.steps().iter().try_for_each(|step| write!(formatter, "\n{step}"))
    }
}

/// As a shell reads it as one word.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@+,=%".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
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
        assert!(text.starts_with("refused:\n  changes[0]: bad\n"), "{text}");
        assert!(text.contains("changes[19]") && !text.contains("changes[20]"), "{text}");
        assert!(text.ends_with("and 5 more\nmend it"), "{text}");
        let json = error.to_json();
        assert_eq!(json["error"]["exit_code"], 1);
        assert_eq!(json["error"]["kind"], "failed");
        assert_eq!(json["error"]["violations"].as_array().unwrap().len(), 25);
        assert_eq!(Error::usage("x").to_json()["error"]["next"], serde_json::Value::Null);
    }

    /// Another coordinator knows nothing of what this one accepted.
    #[test]
    fn what_was_accepted_is_looked_for_nowhere_else() {
        let away = Error::unreachable("nobody at http://a:1").next("start one").after("accepted").of_task("t1");
        assert_eq!(away.exit, Exit::TryAgain);
        assert_eq!(away.to_string(), "accepted: nobody at http://a:1\nfollow the task with `rstuf task watch t1`");
        let refused = Error::failed("no").next("mend it").after("accepted");
        assert_eq!((refused.exit, refused.to_string()), (Exit::Failed, "accepted: no\nmend it".to_owned()));
    }

    #[test]
    fn only_an_open_end_is_worth_following_or_the_same_again() {
        let of_request = |error: Error| error.of_request("it's 7");
        assert_eq!(of_request(Error::failed("no")).to_string(), "no");
        assert_eq!(of_request(Error::failed("no")).to_json()["error"]["request_id"], "it's 7");
        let text = of_request(Error::try_again("later").next("wait")).to_string();
        let id = "--request-id 'it'\\''s 7'";
        let told = format!("`rstuf task get {id}` tells whether it was accepted\nthe same again is safe with {id}");
        assert_eq!(text, format!("later\nwait\n{told}"));
        let text = of_request(Error::try_again("later").of_task("t1")).to_string();
        assert_eq!(text, "later\nfollow the task with `rstuf task watch t1`\nits request id is it's 7");
    }
}
