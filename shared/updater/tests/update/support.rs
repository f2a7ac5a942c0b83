//! What the tests share.

use rstuf_tuf::{Layout, RoleName};
use rstuf_updater::{Error, Options};

use crate::repository::path;

pub fn options(url: &str, root: Vec<u8>) -> Options {
    Options::new(format!("{url}/metadata/"), format!("{url}/targets"), root)
}

pub fn refused(result: Result<(), Error>) -> rstuf_tuf::Error {
    match result {
        Err(Error::Refused { source, .. }) => source,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Whether an error is the one that an attack should end in.
pub type Expected = fn(&Error) -> bool;

pub fn bin_of(layout: &str, at: &str) -> RoleName {
    layout.parse::<Layout>().unwrap().role_for(&path(at))
}
