//! The sled backend against the contract.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use rstuf_store::{Options, Result, SledStore, StateStore, conformance};

/// Small generations, so that crashes also happen while rows are moved.
fn open(dir: &Path) -> Result<Arc<dyn StateStore>> {
    let options = Options::new(dir, "conformance").free_bytes_min(0);
    Ok(Arc::new(SledStore::open_with_generation_bytes(options, 64 << 10)?))
}

#[test]
fn sled_conforms() {
    conformance::run("sled_conforms", open);
}
