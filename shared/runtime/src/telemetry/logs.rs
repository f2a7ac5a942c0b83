//! How logs look.

use std::{
    fmt::{self, Write},
    io,
};

use tracing::{Subscriber, field::Field};
use tracing_subscriber::{
    Layer,
    field::MakeExt,
    fmt::{
        MakeWriter,
        format::{Writer, debug_fn},
    },
    registry::LookupSpan,
};

/// How logs look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

/// One line an event, to `writer`.
pub(super) fn layer<S, W>(format: LogFormat, writer: W, colours: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours);
    match format {
        LogFormat::Human => {
            layer.with_writer(writer).with_target(false).fmt_fields(debug_fn(field).delimited(" ")).boxed()
        }
        LogFormat::Json => {
            layer.with_writer(EscapedJson(writer)).json().flatten_event(true).with_current_span(false).boxed()
        }
    }
}

/// A field as people read it. What a caller invented cannot begin a new line, colour one, or look like what it is not:
/// control characters, and those that nobody sees, are written as escapes. The exporter's own fields are left out.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(Escaped(writer), "{value:?}"),
        name if name.starts_with("otel.") => Ok(()),
        name => write!(Escaped(writer), "{name}={value:?}"),
    }
}

/// Writes control characters, and those that nobody sees, as escapes.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_hidden) {
            let (plain, control) = match part.char_indices().last() {
                Some((at, last)) if is_hidden(last) => (&part[..at], Some(last)),
                _ => (part, None),
            };
            self.0.write_str(plain)?;
            control.map_or(Ok(()), |it| write!(self.0, "{}", it.escape_default()))?;
        }
        Ok(())
    }
}

/// Writes what nobody sees as escapes: it can only stand in a string of a line.
struct EscapedJson<W>(W);

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for EscapedJson<W> {
    type Writer = EscapedJson<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        EscapedJson(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for EscapedJson<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut escaped = String::with_capacity(line.len());
        for character in String::from_utf8_lossy(line).chars() {
            match !character.is_ascii() && is_hidden(character) {
                true => escaped.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
                false => escaped.push(character),
            }
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn is_hidden(character: char) -> bool {
    character.is_control() || rstuf_tuf::text::is_hidden(character)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_are_quiet_at_debug_unless_named() {
        let lines = |filter: &str| {
            let memory = Memory::default();
            let writer = memory.clone();
            let layer = layer(LogFormat::Human, move || writer.clone(), false);
            let filter = crate::telemetry::parse_filter(filter).unwrap();
            let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
            tracing::subscriber::with_default(subscriber, || {
                tracing::debug!(target: "rstuf_coordinator", "ours");
                tracing::debug!(target: "h2::codec", "frame");
                tracing::debug!(target: "hyper_util::client", "pool");
                tracing::warn!(target: "h2::proto", "reset");
            });
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            ["ours", "frame", "pool", "reset"].map(|it| text.lines().any(|line| line.ends_with(it)))
        };
        assert_eq!(lines("debug"), [true, false, false, true]);
        assert_eq!(lines("rstuf=debug"), [true, false, false, true]);
        assert_eq!(lines("debug,h2=debug"), [true, true, false, true]);
        assert_eq!(lines("info,h2::codec=debug"), [false, true, false, true]);
        assert_eq!(lines("error"), [false; 4]);
    }

    fn logged(format: LogFormat) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = tracing_subscriber::registry().with(layer(format, move || writer.clone(), false));
        tracing::subscriber::with_default(subscriber, || {
            let name = "a\r\n2026-01-01 ERROR forged\u{1b}[31m gpj\u{202e}exe\u{115f}\u{e0001} नमस्ते";
            let _span = tracing::info_span!("request", otel.kind = "server", role = name).entered();
            tracing::info!(path = %name, "artifact {name} added");
        });
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nobody_can_forge_a_line() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let text = logged(format);
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(!text.trim_end_matches('\n').contains(is_hidden), "{text:?}");
            assert!(text.contains("forged"), "{text:?}");
        }
        let json = logged(LogFormat::Json);
        assert!(json.contains(r"gpj\u202eexe\u115f\udb40\udc01 नमस्ते"), "{json:?}");
        let human = logged(LogFormat::Human);
        assert!(human.contains(r"artifact a\r\n2026") && human.contains(r"path=a\r\n2026"), "{human:?}");
        assert!(human.contains(r"gpj\u{202e}exe\u{115f}\u{e0001} नमस्ते"), "{human:?}");
        assert!(!human.contains("otel"), "{human:?}");
    }
}
