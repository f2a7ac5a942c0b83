//! Lints, and one style of logs.

use std::fs;

use crate::{layers::LAYERS, root, sources};

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

/// Log messages are lowercase without a full stop, with values as fields.
#[test]
fn log_messages_have_one_style() {
    for folder in ["shared", "services"] {
        for (path, text) in sources(&root().join(folder)).into_iter().filter(|(path, _)| !path.contains("/tests/")) {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains("tracing::")) {
                let Some((_, rest)) = line.rsplit_once(", \"").or_else(|| line.split_once("!(\"")) else { continue };
                let message = rest.split('"').next().unwrap();
                let good =
                    !message.starts_with(char::is_uppercase) && !message.ends_with('.') && !message.contains('{');
                assert!(good, "{path}:{}: `{message}`: lowercase, no full stop, values as fields", number + 1);
            }
        }
    }
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
