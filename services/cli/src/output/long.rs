//! An answer with a list that is too long to be held: it is written as it comes.

use serde::Serialize;

use super::{Format, Output, json, printable, write_line, write_text};
use crate::error::Error;

/// One document, of whose list nobody holds more than a page. Whatever ends it early leaves a document without its end,
/// which no program takes for a whole one.
pub(crate) struct LongAnswer {
    output: Output,
    list: List,
}

impl Output {
    /// The one answer of a command: a list, which is called so in the document.
    #[must_use]
    pub(crate) fn long_answer(self, name: &'static str) -> LongAnswer {
        LongAnswer { output: self, list: List { name, is_begun: false } }
    }
}

impl LongAnswer {
    /// The next items, of which there may be none; `human` is told whether they are the first.
    ///
    /// # Errors
    /// As [`Output::answer`].
    pub(crate) fn items<T: Serialize>(
        &mut self,
        items: &[T],
        human: impl FnOnce(&[T], bool) -> String,
    ) -> Result<(), Error> {
        let is_first = !self.list.is_begun;
        let text = self.list.next(items)?;
        match self.output.format {
            Format::Human if items.is_empty() => Ok(()),
            Format::Human => write_line(&printable(&human(items, is_first))),
            Format::Json => write_text(&text),
        }
    }

    /// That was all; `more` where only no more were asked for. People are told where there was `nothing`.
    ///
    /// # Errors
    /// As [`Output::answer`].
    pub(crate) fn end(self, more: bool, nothing: impl FnOnce() -> String) -> Result<(), Error> {
        match self.output.format {
            Format::Human if self.list.is_begun => Ok(()),
            Format::Human => write_line(&printable(&nothing())),
            Format::Json => write_text(&self.list.end(more)),
        }
    }
}

/// The document piece by piece, which together are what [`Output::answer`] makes of the whole.
struct List {
    name: &'static str,
    is_begun: bool,
}

impl List {
    fn begin(&self) -> String {
        format!("{{\n  \"{}\": [", self.name)
    }

    fn next<T: Serialize>(&mut self, items: &[T]) -> Result<String, Error> {
        let mut text = String::new();
        for item in items {
            match std::mem::replace(&mut self.is_begun, true) {
                false => text.push_str(&self.begin()),
                true => text.push(','),
            }
            text.push_str("\n    ");
            // Within a text, a line break is escaped.
            text.push_str(&json(serde_json::to_string_pretty(item))?.replace('\n', "\n    "));
        }
        Ok(text)
    }

    fn end(self, more: bool) -> String {
        let list = if self.is_begun { "\n  ]".to_owned() } else { self.begin() + "]" };
        format!("{list},\n  \"more\": {more}\n}}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Whole<'a> {
        items: &'a [Item],
        more: bool,
    }

    #[derive(Serialize)]
    struct Item {
        name: String,
        hashes: Vec<u32>,
    }

    #[test]
    fn its_pieces_are_the_whole_document() {
        for count in [0, 1, 2, 5] {
            let item = |number| Item { name: format!("line\nbreak {number}"), hashes: (0..number).collect() };
            let items: Vec<_> = (0..count).map(item).collect();
            let (mut list, mut text) = (List { name: "items", is_begun: false }, String::new());
            for page in items.chunks(2) {
                text += &list.next(page).unwrap();
                text += &list.next::<Item>(&[]).unwrap();
            }
            text += &list.end(count == 5);
            let whole = serde_json::to_string_pretty(&Whole { items: &items, more: count == 5 }).unwrap();
            assert_eq!(text, whole + "\n");
        }
    }
}
