//! The only place that writes to the terminal.
//!
//! Answers go to standard output: text for people, or JSON, one document for a command (one a line where a command
//! follows something), which ends early where the command fails while it is written. Notes, progress and errors go to
//! standard error.

mod long;

use std::{
    io::{self, IsTerminal as _, Write as _},
    str::FromStr,
    sync::LazyLock,
    time::Duration,
};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle, WeakProgressBar};
use serde::Serialize;
use tabled::{builder::Builder, settings::Style};

use crate::error::{Error, Exit};

/// How often a spinner moves.
const SPINNER_PERIOD: Duration = Duration::from_millis(200);

/// How often it is told how far something is, where there is no terminal to draw a bar on.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// What is drawn on the terminal, of which a process has one: whatever else is written there must know.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// For whom answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text for people; may change.
    #[default]
    Human,
    /// JSON for programs; fields are only ever added.
    Json,
}

impl Format {
    /// Its name on the command line.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("output is {text:?}, allowed: human, json")),
        }
    }
}

/// Writes answers in the chosen format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Writes in `format`.
    #[must_use]
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// The one answer of a command.
    ///
    /// # Errors
    /// Where standard output can't be written to.
    pub(crate) fn answer<T: Serialize>(self, document: &T, human: impl FnOnce(&T) -> String) -> Result<(), Error> {
        match self.format {
            Format::Human => write_line(&printable(&human(document))),
            Format::Json => write_line(&json(serde_json::to_string_pretty(document))?),
        }
    }

    /// The one answer of a command that writes a script: as it is for people, who send it to a file.
    ///
    /// # Errors
    /// As [`Output::answer`].
    pub(crate) fn script<T: Serialize>(self, document: &T, script: impl FnOnce(&T) -> &str) -> Result<(), Error> {
        match self.format {
            Format::Human => write_line(script(document).trim_end()),
            Format::Json => self.answer(document, |_| String::new()),
        }
    }

    /// One of several answers of a command that follows something: one line.
    ///
    /// # Errors
    /// As [`Output::answer`].
    pub(crate) fn line<T: Serialize>(self, document: &T, human: impl FnOnce(&T) -> String) -> Result<(), Error> {
        match self.format {
            Format::Human => write_line(&printable(&human(document))),
            Format::Json => write_line(&json(serde_json::to_string(document))?),
        }
    }

    /// A remark for people, beside the answer. Programs find the same in the document.
    pub(crate) fn note(self, text: &str) {
        if self.format == Format::Human {
            write_error(&printable(text));
        }
    }

    /// Why the command ended early.
    pub(crate) fn error(self, error: &Error) {
        match self.format {
            Format::Human => write_error(&format!("error: {}", printable(&error.to_string()))),
            Format::Json => write_error(&escape_json(&error.to_json().to_string())),
        }
    }

    /// A bar over `total` bytes, 0 where nobody knows how many; now and then a line where standard error is no
    /// terminal; invisible with JSON.
    #[must_use]
    pub(crate) fn bytes_bar(self, total: u64, verb: &'static str) -> ProgressBar {
        if total == 0 {
            let far = |bar: &ProgressBar| HumanBytes(bar.position()).to_string();
            return self.bar(total, verb, "{msg} {bytes} {bytes_per_sec} {elapsed}", far);
        }
        let far = |bar: &ProgressBar| {
            let total = bar.length().unwrap_or_default();
            format!("{} of {}", HumanBytes(bar.position()), HumanBytes(total))
        };
        self.bar(total, verb, "{msg} [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec} {eta}", far)
    }

    /// A bar over `total` things; as [`Output::bytes_bar`].
    #[must_use]
    pub(crate) fn steps_bar(self, total: u64) -> ProgressBar {
        let far = |bar: &ProgressBar| format!("{} of {}", bar.position(), bar.length().unwrap_or_default());
        self.bar(total, "waiting", "{msg:24} [{bar:40}] {pos}/{len} {elapsed}", far)
    }

    /// Moves as long as something is waited for, and says what; as [`Output::bytes_bar`].
    #[must_use]
    pub(crate) fn spinner(self, message: &'static str) -> ProgressBar {
        let far = |bar: &ProgressBar| format!("since {}", HumanDuration(bar.elapsed()));
        let spinner = self.bar(0, message, "{spinner} {msg} {elapsed}", far);
        spinner.enable_steady_tick(SPINNER_PERIOD);
        spinner
    }

    /// Moves as long as nobody knows how many there are, and counts them; as [`Output::bytes_bar`].
    #[must_use]
    pub(crate) fn counter(self, message: &'static str) -> ProgressBar {
        let far = |bar: &ProgressBar| bar.position().to_string();
        let counter = self.bar(0, message, "{spinner} {msg} {pos} {elapsed}", far);
        counter.enable_steady_tick(SPINNER_PERIOD);
        counter
    }

    /// `far` says how far it is, in a line.
    fn bar(self, total: u64, message: &'static str, template: &str, far: fn(&ProgressBar) -> String) -> ProgressBar {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Hidden as long as nobody draws it.
        let bar = ProgressBar::hidden().with_style(style.progress_chars("=> ")).with_message(message);
        bar.set_length(total);
        match self.format {
            Format::Json => bar,
            Format::Human if io::stderr().is_terminal() => BARS.add(bar),
            Format::Human => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(tell_lines(bar.downgrade(), far, |line| write_error(&printable(line))));
                }
                bar
            }
        }
    }
}

/// Tells how far it is, until it is finished or nobody goes on with it.
async fn tell_lines(bar: WeakProgressBar, far: fn(&ProgressBar) -> String, mut tell: impl FnMut(&str)) {
    loop {
        tokio::time::sleep(LINE_PERIOD).await;
        match bar.upgrade().filter(|bar| !bar.is_finished()) {
            Some(bar) => tell(&format!("{}: {}", bar.message(), far(&bar))),
            None => return,
        }
    }
}

/// A table without borders; the first row is the head.
#[must_use]
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut builder = Builder::default();
    builder.push_record(head);
    for row in rows {
        builder.push_record(row);
    }
    let text = builder.build().with(Style::blank()).to_string();
    text.lines().map(str::trim_end).map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Text that came from elsewhere may neither steer the terminal nor look like what it is not: control characters
/// besides line breaks, and those that nobody sees, are escaped.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || is_visible(character) {
            safe.push(character)
        } else {
            safe.extend(character.escape_default())
        }
    }
    safe
}

/// No control character, no bidirectional control, nothing of width zero but what joins the letter before it.
fn is_visible(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    if rstuf_tuf::text::is_hidden(character) {
        return false;
    }
    // After another letter, of what is not ASCII only that is escaped which can't be seen.
    let after_another: String = ['a', character].iter().collect();
    after_another.escape_debug().eq(after_another.chars())
}

/// JSON holds the same text, whatever of it is escaped.
fn json(text: Result<String, serde_json::Error>) -> Result<String, Error> {
    let text = text.map_err(|error| Error::failed(format!("the answer can't be written as JSON: {error}")))?;
    Ok(escape_json(&text))
}

fn escape_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || is_visible(character) {
            safe.push(character);
        } else {
            safe.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    safe
}

fn write_line(text: &str) -> Result<(), Error> {
    write_text(&format!("{text}\n"))
}

/// A reader that has seen enough (`rstuf artifact list --all | head`) closed the pipe: that is no error.
fn write_text(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match BARS.suspend(|| stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(Exit::Done as i32),
        other => other.map_err(|error| Error::failed(format!("cannot write to standard output: {error}"))),
    }
}

/// Nothing can be said about a standard error that can't be written to.
fn write_error(text: &str) {
    let _ = BARS.suspend(|| writeln!(io::stderr().lock(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(printable("a\nb"), "a\nb");
        assert_eq!(printable("a\u{1b}[2Jb\r"), "a\\u{1b}[2Jb\\r");
    }

    #[test]
    fn names_look_like_what_they_are() {
        for hidden in ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{e0041}'] {
            let name = format!("gpj{hidden}exe");
            assert_eq!(printable(&name), format!("gpj{}exe", hidden.escape_unicode()));
            let text = json(serde_json::to_string(&name)).unwrap();
            assert!(text.is_ascii(), "{text}");
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), name, "programs get the name itself");
        }
        for name in ["größe.txt", "e\u{301}", "日本", "हिन्दी", "it's \"quoted\"", "🦀"] {
            assert_eq!(printable(name), name);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_a_line_now_and_then_tells_how_far_it_is() {
        let bar = ProgressBar::hidden().with_message("importing");
        let mut lines = Vec::new();
        let far = |bar: &ProgressBar| bar.position().to_string();
        let telling = tell_lines(bar.downgrade(), far, |line| lines.push(line.to_owned()));
        let working = async {
            for _ in 0..2 {
                bar.inc(1);
                tokio::time::sleep(LINE_PERIOD + SPINNER_PERIOD).await;
            }
            bar.finish_and_clear();
        };
        // It ends, as it is finished.
        tokio::join!(telling, working);
        assert_eq!(lines, ["importing: 1", "importing: 2"]);
    }

    #[test]
    fn tables_have_no_borders_and_no_trailing_blanks() {
        let text =
            table(["PATH", "LENGTH"], [["a".to_owned(), "1".to_owned()], ["long/er".to_owned(), "22".to_owned()]]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("PATH ") && lines[2].starts_with("long/er "), "{text}");
        assert!(lines.iter().all(|line| line.trim_end() == *line), "{text}");
    }
}
