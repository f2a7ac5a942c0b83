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
    assert_eq!(manifests.len(), LAYERS.len() - 1);
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
