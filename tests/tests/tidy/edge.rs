//! Wire types, encodings and gRPC statuses stay at the edge.

use std::fs;

use crate::{root, sources, tokens::product};

/// Layers that know nothing of gRPC at all.
const WITHOUT_GRPC: &[&str] = &["shared/tuf", "shared/store", "shared/keys", "shared/updater", "services/mirror"];

/// Where services and what they share meet the wire, and, in the journal, where encoded messages are what is kept.
const EDGES: &[&str] = &[
    "services/cli/src/client/",
    "services/coordinator/src/grpc/",
    "services/coordinator/src/journal/history/segment.rs",
    "services/coordinator/src/journal/parts.rs",
    "services/coordinator/src/journal/repeated.rs",
    "services/coordinator/src/journal/results.rs",
    "services/coordinator/src/signers/",
    "services/snapshot/src/grpc.rs",
    "services/targets/src/arrivals.rs",
    "services/targets/src/grpc.rs",
    "services/timestamp/src/grpc.rs",
    "shared/signing/src/grpc.rs",
    // A coordinator for the signers' tests.
    "shared/signing/src/testing.rs",
];

/// Crates whose product code is held to it.
const HELD: &[&str] = &[
    "services/cli",
    "services/coordinator",
    "services/targets",
    "services/snapshot",
    "services/timestamp",
    "shared/signing",
];

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
            let Some(found) = wire_path(&product(&text)) else { continue };
            match EDGES.iter().any(|edge| path.contains(edge)) {
                true => at_the_edge += 1,
                false => faults.push(format!("{path}: {found}")),
            }
        }
    }
    assert!(at_the_edge > 20, "only {at_the_edge} files at the edge: this test reads the sources wrongly");
    assert!(faults.is_empty(), "wire types away from the edge, see EDGES:\n{}", faults.join("\n"));
}

/// The first path that begins with, or goes through, what carries wire types, with what it names.
fn wire_path(tokens: &[String]) -> Option<String> {
    const WIRE: [&str; 3] = ["proto", "tonic", "prost"];
    let found = tokens.windows(4).find(|four| WIRE.contains(&&*four[0]) && four[1] == ":" && four[2] == ":");
    found.map(<[_]>::concat)
}

#[test]
fn wire_types_are_found_wherever_they_stand() {
    let found = |text: &str| wire_path(&product(text));
    let after_tests = "#[cfg(test)] mod tests { use prost::Message; }\nfn f() -> tonic::Status {}";
    assert_eq!(found(after_tests).unwrap(), "tonic::Status");
    assert_eq!(found("use rstuf_api::{limits, proto::{\n  a}};").unwrap(), "proto::{");
    assert_eq!(found("// tonic::Status\nuse my_tonic::Status; fn proto() -> proto { \"proto::a\" }"), None);
}
