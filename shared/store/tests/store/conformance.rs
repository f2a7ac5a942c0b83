//! The sled backend against the contract.

use std::{path::Path, sync::Arc};

use rstuf_store::{Options, Result, SledStore, StateStore, conformance};

fn open(dir: &Path) -> Result<Arc<dyn StateStore>> {
    Ok(Arc::new(SledStore::open(Options::new(dir, "conformance").free_bytes_min(0))?))
}

/// So that crashes also happen while rows are moved to a fresh generation.
fn open_restless(dir: &Path) -> Result<Arc<dyn StateStore>> {
    Ok(Arc::new(SledStore::open_restless(Options::new(dir, "conformance").free_bytes_min(0))?))
}

#[test]
fn sled_conforms() {
    conformance::run("conformance::sled_conforms", open);
}

#[test]
fn sled_conforms_while_rows_are_moved() {
    conformance::run("conformance::sled_conforms_while_rows_are_moved", open_restless);
}
