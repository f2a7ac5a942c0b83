//! Generated from `proto/`; the folder `gen` is rewritten by `tests/codegen.rs`.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

pub mod metadata {
    pub mod v1 {
        include!("gen/rstuf.metadata.v1.rs");
    }
}

pub mod artifacts {
    pub mod v1 {
        include!("gen/rstuf.artifacts.v1.rs");
    }
}

pub mod tasks {
    pub mod v1 {
        include!("gen/rstuf.tasks.v1.rs");
    }
}

pub mod repository {
    pub mod v1 {
        include!("gen/rstuf.repository.v1.rs");
    }
}

pub mod signer {
    pub mod v1 {
        include!("gen/rstuf.signer.v1.rs");

        pub use crate::submitted::SubmittedChange;
    }
}

/// All areas, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");
