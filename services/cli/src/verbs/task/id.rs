//! Ids of tasks, which may be shortened.

use super::list;
use crate::{client::Client, error::Error, page, view, wait};

/// Hexadecimal digits of a whole id, and of the shortest.
const DIGITS: usize = 32;
const DIGITS_MIN: usize = 4;

/// Tasks that a shortened id is looked for among.
const TASKS_MAX: usize = 100_000;

/// Tasks that are named where a shortened id fits several.
const CANDIDATES_SHOWN_MAX: usize = 10;

/// A task's id as a person gives it: whole, or its first or last digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskId {
    /// As given.
    text: String,
    /// Without hyphens, in lower case.
    digits: String,
}

impl std::str::FromStr for TaskId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|letter| *letter != '-').collect();
        if !(DIGITS_MIN..=DIGITS).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("allowed: a task's id, or its first or last digits, {DIGITS_MIN} at least"));
        }
        Ok(Self { text: text.to_owned(), digits: digits.to_ascii_lowercase() })
    }
}

impl TaskId {
    /// The whole id.
    ///
    /// # Errors
    /// Where it is short for no task, or for several.
    pub(super) async fn whole(self, client: &Client) -> Result<String, Error> {
        if self.digits.len() == DIGITS {
            return Ok(self.text);
        }
        let mut seen = 0;
        let mut found: Vec<view::Task> = Vec::new();
        page::collect::<()>(None, list::PAGE_MAX, async |page_size, page_token| {
            let (tasks, next) = client.list_tasks(None, page_size, page_token).await?;
            seen += tasks.len();
            found.extend(tasks.into_iter().filter(|task| self.fits(&task.id)));
            if seen >= TASKS_MAX && !next.is_empty() {
                let message = format!("there are too many tasks to look for {:?} among them", self.text);
                return Err(Error::usage(message).next("give the whole id"));
            }
            Ok((Vec::new(), next))
        })
        .await?;
        self.only(found)
    }

    fn fits(&self, id: &str) -> bool {
        let id = id.replace('-', "");
        id.starts_with(&self.digits) || id.ends_with(&self.digits)
    }

    fn only(&self, mut found: Vec<view::Task>) -> Result<String, Error> {
        if found.len() > 1 {
            let shown = found.iter().take(CANDIDATES_SHOWN_MAX).map(|task| format!("\n  {}", wait::line(task)));
            let mut message =
                format!("{:?} is short for {} tasks:{}", self.text, found.len(), shown.collect::<String>());
            if found.len() > CANDIDATES_SHOWN_MAX {
                message.push_str("\n  ...");
            }
            return Err(Error::usage(message).next("give more digits"));
        }
        let missing = || Error::failed(format!("no task's id begins or ends with {:?}", self.text));
        found.pop().map(|task| task.id).ok_or_else(|| missing().next("`rstuf task list` shows them"))
    }
}

/// Which task, and how much of it is listed.
#[derive(Debug, clap::Args)]
pub(super) struct Part {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID")]
    id: TaskId,
    /// How many at most [default: all]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl Part {
    /// The whole id, and how many at most.
    ///
    /// # Errors
    /// As [`TaskId::whole`].
    pub(super) async fn of(self, client: &Client) -> Result<(String, Option<usize>), Error> {
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok((self.id.whole(client).await?, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hexadecimal_and_long_enough() {
        let digits = |text: &str| text.parse::<TaskId>().map(|id| id.digits);
        assert_eq!(digits("AB-cd"), Ok("abcd".to_owned()));
        assert!(digits("abc").is_err() && digits("wxyz").is_err() && digits(&"a".repeat(33)).is_err());
    }

    #[test]
    fn a_short_id_must_be_short_for_one_task() {
        let task = |id: &str| view::Task::of(id);
        let (one, two) = (task("0199-aa11"), task("0199-bb11"));
        let id: TaskId = "0199".parse().unwrap();
        assert!(id.fits(&one.id) && !id.fits("aa0199ff"));
        assert!("AA11".parse::<TaskId>().unwrap().fits(&one.id));
        assert_eq!(id.only(vec![one.clone()]), Ok("0199-aa11".to_owned()));
        let several = id.only(vec![one, two]).unwrap_err();
        assert!(several.message.contains("0199-aa11") && several.message.contains("0199-bb11"), "{several}");
        assert_eq!(several.exit, crate::error::Exit::Usage);
        assert_eq!(id.only(Vec::new()).unwrap_err().exit, crate::error::Exit::Failed);
    }
}
