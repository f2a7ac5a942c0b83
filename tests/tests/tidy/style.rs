//! Lints, and one style of logs.

use std::fs;

use crate::{layers::LAYERS, root, sources, tokens::product};

/// `missing_docs` and the others hold everywhere only if every package inherits them.
#[test]
fn every_package_inherits_the_lints() {
    let manifests: Vec<_> = ["shared", "services"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path().join("Cargo.toml"))
        .filter(|path| path.exists())
        .collect();
    assert_eq!(manifests.len(), LAYERS.len());
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{} lacks the lints", manifest.display());
    }
}

/// In characters, code and comments alike: what the formatter leaves alone, too.
const LINE_CHARS_MAX: usize = 120;

#[test]
fn lines_are_not_too_long() {
    let mut faults = Vec::new();
    for folder in ["shared", "services", "tests"] {
        for (path, text) in sources(&root().join(folder)) {
            let too_long = text.lines().enumerate().filter(|(_, line)| line.chars().count() > LINE_CHARS_MAX);
            faults.extend(too_long.map(|(number, _)| format!("{path}:{}", number + 1)));
        }
    }
    assert!(faults.is_empty(), "longer than {LINE_CHARS_MAX} characters:\n{}", faults.join("\n"));
}

/// Log messages are lowercase without a full stop, with values as fields.
#[test]
fn log_messages_have_one_style() {
    let (mut seen, mut faults) = (0, Vec::new());
    for folder in ["shared", "services"] {
        let packages = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path().join("src"));
        for package in packages.filter(|path| path.is_dir()) {
            for (path, text) in sources(&package) {
                let messages = log_messages(&product(&text));
                seen += messages.len();
                let wrong = messages.into_iter().filter(|message| !is_in_style(message));
                faults.extend(wrong.map(|message| format!("{path}: {message}")));
            }
        }
    }
    assert!(seen > 50, "only {seen} log messages: this test reads the sources wrongly");
    assert!(faults.is_empty(), "one message: lowercase, no full stop, values as fields:\n{}", faults.join("\n"));
}

/// What each call of the macros of `tracing` says: its literal as it is written, none or several as they come.
fn log_messages(tokens: &[String]) -> Vec<String> {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let is_call = |six: &&[String]| {
        let call = [&six[0], &six[1], &six[2], &six[4], &six[5]];
        call == ["tracing", ":", ":", "!", "("] && LEVELS.contains(&&*six[3])
    };
    let calls = tokens.windows(6).enumerate().filter(|(_, six)| is_call(six));
    calls.map(|(at, _)| message(&tokens[at + 5..])).collect()
}

/// The literals that stand alone as an argument, from the opening parenthesis on.
fn message(tokens: &[String]) -> String {
    let (mut depth, mut found) = (0, Vec::new());
    for pair in tokens.windows(2) {
        match &*pair[0] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && ["(", ","].contains(&&*pair[0]) && pair[1].starts_with('"') {
            found.push(&*pair[1]);
        }
    }
    found.join(", ")
}

fn is_in_style(message: &str) -> bool {
    let inner = message.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let plain = !inner.is_empty() && !inner.contains(['"', '{']);
    plain && !inner.starts_with(char::is_uppercase) && !inner.ends_with('.')
}

#[test]
fn log_messages_are_found_and_judged() {
    let found = |text: &str| log_messages(&product(text));
    let broken = r#"fn f() { select! { _ = g => tracing::warn!(
        a = "b", c = h("d"),
        "on a line of its own"
    ) } }"#;
    assert_eq!(found(broken), [r#""on a line of its own""#]);
    assert_eq!(found(r#"fn f() { tracing::info!(a); tracing::info_span!("b"); }"#), [""]);
    for wrong in ["", r#""""#, r#""It ends""#, r#""it ends.""#, r#""it ends: {error}""#, r#""one", "two""#] {
        assert!(!is_in_style(wrong), "{wrong}");
    }
    assert!(is_in_style(r#""it ends""#));
}

/// What is marked as without tests, so that nobody waits for an empty test program, has none.
#[test]
fn no_test_is_left_out() {
    let mut marked = 0;
    for folder in ["shared", "services"] {
        for package in fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(manifest) = fs::read_to_string(package.join("Cargo.toml")) else { continue };
            let library = manifest.contains("[lib]\ntest = false");
            marked += usize::from(library);
            for (path, text) in sources(&package.join("src")) {
                let is_main = path.ends_with("/main.rs");
                let is_tested = text.contains("#[test]") || text.contains("#[tokio::test");
                assert!(!(library || is_main) || !is_tested, "{path} has a test that is never run");
            }
        }
    }
    assert!(marked > 0, "no manifest is marked in the way that this test looks for");
}
