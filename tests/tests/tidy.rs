//! Rules of the house that no compiler checks.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

/// What each package of ours may use of the others (besides tests). A new line here is a decision.
const LAYERS: &[(&str, &[&str])] = &[
    ("rstuf-tuf", &[]),
    ("rstuf-store", &[]),
    ("rstuf-runtime", &[]),
    ("rstuf-api", &["rstuf-tuf"]),
    ("rstuf-keys", &["rstuf-tuf"]),
    ("rstuf-updater", &["rstuf-tuf"]),
    ("rstuf-signing", &["rstuf-api", "rstuf-keys", "rstuf-runtime", "rstuf-store", "rstuf-tuf"]),
    ("rstuf-coordinator", SHARED),
    ("rstuf-targets", SHARED),
    ("rstuf-snapshot", SHARED),
    ("rstuf-timestamp", SHARED),
    ("rstuf-mirror", &["rstuf-runtime", "rstuf-tuf"]),
    ("rstuf-standalone", EVERYTHING_BUT_CLI),
    ("rstuf-cli", &["rstuf-api", "rstuf-keys", "rstuf-runtime", "rstuf-standalone", "rstuf-tuf", "rstuf-updater"]),
    ("rstuf-tests", EVERYTHING),
];
/// A service never uses another one: they meet only over gRPC.
const SHARED: &[&str] =
    &["rstuf-api", "rstuf-keys", "rstuf-runtime", "rstuf-signing", "rstuf-store", "rstuf-tuf", "rstuf-updater"];
const EVERYTHING_BUT_CLI: &[&str] = &[
    "rstuf-api",
    "rstuf-coordinator",
    "rstuf-keys",
    "rstuf-mirror",
    "rstuf-runtime",
    "rstuf-signing",
    "rstuf-snapshot",
    "rstuf-store",
    "rstuf-targets",
    "rstuf-timestamp",
    "rstuf-tuf",
    "rstuf-updater",
];
const EVERYTHING: &[&str] = &[
    "rstuf-api",
    "rstuf-cli",
    "rstuf-coordinator",
    "rstuf-keys",
    "rstuf-mirror",
    "rstuf-runtime",
    "rstuf-signing",
    "rstuf-snapshot",
    "rstuf-standalone",
    "rstuf-store",
    "rstuf-targets",
    "rstuf-timestamp",
    "rstuf-tuf",
    "rstuf-updater",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn layers_hold() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let may_use = allowed.get(name).unwrap_or_else(|| panic!("{name} has no line in LAYERS"));
        seen += 1;
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let in_product = dependency["kind"].as_str() != Some("dev");
            assert!(
                !in_product || !used.starts_with("rstuf-") || may_use.contains(&used),
                "{name} must not use {used}: see LAYERS, and services/README.md for why"
            );
        }
    }
    assert_eq!(seen, LAYERS.len(), "LAYERS names a package that is gone");
}

/// Wire types and gRPC statuses stay at the edge.
#[test]
fn grpc_stays_at_the_edge() {
    for folder in ["shared/tuf", "shared/store", "shared/keys", "shared/updater"] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("tonic"), "{folder} must not know gRPC");
    }
    for folder in
        ["services/coordinator/src", "services/targets/src", "services/snapshot/src", "services/timestamp/src"]
    {
        for (path, text) in sources(&root().join(folder)) {
            let edge = path.contains("/grpc") || path.ends_with("/signers.rs");
            assert!(edge || !text.contains("tonic::Status"), "{path} must not know tonic::Status");
        }
    }
}

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

fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("gen") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}
