//! Fields that several requests have, checked.

use rstuf_api::{Violation, limits};
use uuid::Uuid;

use crate::{Error, Result};

/// A page size: 0 means the default.
pub(super) fn page_size(value: u32, default: usize, max: usize) -> Result<usize> {
    match value as usize {
        0 => Ok(default),
        size if size <= max => Ok(size),
        size => Err(Error::field("page_size", format!("{size}, allowed are 1 to {max}, or 0 for {default}"))),
    }
}

pub(super) fn request_id(text: String) -> Result<String> {
    let allowed = text.len() <= limits::REQUEST_ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
    if allowed {
        return Ok(text);
    }
    let allowed = format!("allowed are up to {} printable ASCII characters", limits::REQUEST_ID_BYTES_MAX);
    let description = format!("`{}`, {allowed}", text.escape_default());
    Err(Violation { field: "request_id".to_owned(), description }.into())
}

pub(super) fn task_id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| Error::field("id", format!("`{}` is not the id of a task", text.escape_default())))
}
