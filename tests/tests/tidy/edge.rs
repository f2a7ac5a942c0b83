//! Wire types and gRPC statuses stay at the edge.

use std::fs;

use crate::{root, sources};

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
