//! Wire types, encodings and gRPC statuses stay at the edge.

use std::fs;

use crate::{root, sources};

/// Layers that know nothing of gRPC at all.
const WITHOUT_GRPC: &[&str] = &["shared/tuf", "shared/store", "shared/keys", "shared/updater", "services/mirror"];

/// Where services and what they share meet the wire, and, in the journal, where encoded messages are what is kept.
const EDGES: &[&str] = &[
    "services/coordinator/src/grpc/",
    "services/coordinator/src/journal/parts.rs",
    "services/coordinator/src/journal/repeated.rs",
    "services/coordinator/src/journal/results.rs",
    "services/coordinator/src/signers/",
    "services/snapshot/src/grpc.rs",
    "services/targets/src/grpc.rs",
    "services/timestamp/src/grpc.rs",
    "shared/signing/src/grpc.rs",
    // A coordinator for the signers' tests.
    "shared/signing/src/testing.rs",
];

/// Crates whose product code is held to it.
const HELD: &[&str] =
    &["services/coordinator", "services/targets", "services/snapshot", "services/timestamp", "shared/signing"];

#[test]
fn lower_layers_know_no_grpc() {
    for folder in WITHOUT_GRPC {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let product = manifest.split("[dev-dependencies]").next().unwrap();
        assert!(!product.contains("tonic") && !product.contains("prost."), "{folder} must not know gRPC");
    }
}

#[test]
fn wire_types_stay_at_the_edge() {
    let mut faults = Vec::new();
    let mut at_the_edge = 0;
    for folder in HELD {
        for (path, text) in sources(&root().join(folder).join("src")) {
            let product = text.split("#[cfg(test)]").next().unwrap();
            let words = ["proto::", "tonic::", "prost::"];
            let found = product.lines().filter(|line| !line.trim_start().starts_with("//"));
            let Some(line) = found.into_iter().find(|line| words.iter().any(|word| has_word(line, word))) else {
                continue;
            };
            match EDGES.iter().any(|edge| path.contains(edge)) {
                true => at_the_edge += 1,
                false => faults.push(format!("{path}: `{}`", line.trim())),
            }
        }
    }
    assert!(at_the_edge > 14, "only {at_the_edge} files at the edge: this test reads the sources wrongly");
    assert!(faults.is_empty(), "wire types away from the edge, see EDGES:\n{}", faults.join("\n"));
}

/// Whether a path begins with, or goes through, `word`.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_'))
}
