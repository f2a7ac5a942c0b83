//! What each package may use, and what each module of it.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    modules::{Arrows, Krate, circles, rooms},
    order::Order,
    root,
};

/// What each package of ours may use of the others (besides tests). A new line here is a decision.
pub(crate) const LAYERS: &[(&str, &[&str])] = &[
    ("rstuf-tuf", &[]),
    ("rstuf-store", &[]),
    // For what a name must look like, in logs too.
    ("rstuf-runtime", &["rstuf-tuf"]),
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
/// May use anything, and nothing uses it.
const TESTS: &str = "rstuf-tests";

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
    let packages = metadata["packages"].as_array().unwrap();
    for (name, package) in packages.iter().map(|package| (package["name"].as_str().unwrap(), package)) {
        if name == TESTS {
            continue;
        }
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

/// Arrows run down the list of the crate's `lib.rs`; besides, no module, and no top-level module with all that is below
/// it, reaches itself again.
#[test]
fn modules_use_only_what_is_below_them() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for source in libraries() {
        let arrows = Krate::read(&source).arrows();
        seen += arrows.values().map(|to| to.len()).sum::<usize>();
        let found = match Order::read(&fs::read_to_string(&source).unwrap()) {
            Ok(order) => [order.faults(&arrows), circles_of(&order.without_exceptions(arrows))].concat(),
            Err(fault) => vec![fault],
        };
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", source.display())));
    }
    assert!(seen > 700, "only {seen} arrows found: this test reads the sources wrongly");
    assert!(faults.is_empty(), "see the list in lib.rs:\n{}", faults.join("\n"));
}

fn circles_of(arrows: &Arrows) -> Vec<String> {
    let all = [("files", circles(arrows)), ("top-level modules", circles(&rooms(arrows)))];
    let named = all.into_iter().flat_map(|(what, circles)| circles.into_iter().map(move |circle| (what, circle)));
    named.map(|(what, circle)| format!("a circle of {what}:\n    {}", circle.join("\n    "))).collect()
}

fn libraries() -> impl Iterator<Item = PathBuf> {
    let folders = ["shared", "services"].iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    folders.map(|package| package.unwrap().path().join("src/lib.rs")).filter(|source| source.exists())
}
