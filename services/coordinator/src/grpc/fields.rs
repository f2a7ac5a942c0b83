//! Fields that several requests have, checked.

use rstuf_api::RequestId;
use uuid::Uuid;

use crate::{Error, Result};

/// A request id; empty stands for none.
pub(super) fn request_id(text: &str) -> Result<Option<RequestId>> {
    Ok(RequestId::optional("request_id", text)?)
}

pub(super) fn task_id(text: &str) -> Result<Uuid> {
    id(text, "a task")
}

pub(super) fn import_id(text: &str) -> Result<Uuid> {
    id(text, "an import")
}

fn id(text: &str, of: &str) -> Result<Uuid> {
    let refused = || format!("`{}` is not the id of {of}, allowed is one as it was answered", text.escape_default());
    text.parse().map_err(|_| Error::field("id", refused()))
}
