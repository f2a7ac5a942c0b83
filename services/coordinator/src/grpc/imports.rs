//! The calls of `rstuf.artifacts.v1` for imports that go on after a broken connection.

use rstuf_api::{
    RequestId,
    convert::{self, timestamp_message, violation},
    proto::artifacts::v1::{self as proto, get_import_request::Key},
};

use super::{
    fields::{import_id, request_id},
    shared::Shared,
    tasks::task_message,
};
use crate::{
    Error, Result,
    blocking::{blocking, blocking_for},
    intake::OpenImport,
    journal::EncodedChanges,
};

pub(super) async fn create(
    shared: &Shared,
    request: proto::CreateImportRequest,
) -> Result<proto::CreateImportResponse> {
    let id = request_id(&request.request_id)?;
    let import = shared.intake.imports().create(id, request.hold, false).await?;
    Ok(proto::CreateImportResponse { import: Some(message(import)) })
}

pub(super) async fn append(
    shared: &Shared,
    request: proto::AppendImportRequest,
) -> Result<proto::AppendImportResponse> {
    let id = import_id(&request.id)?;
    let changes = encoded(request.changes).await?;
    let import = shared.intake.imports().append(id, request.offset, changes).await?;
    Ok(proto::AppendImportResponse { import: Some(message(import)) })
}

pub(super) async fn get(shared: &Shared, request: proto::GetImportRequest) -> Result<proto::GetImportResponse> {
    let imports = shared.intake.imports().clone();
    let import = match request.key {
        Some(Key::Id(id)) => {
            let id = import_id(&id)?;
            blocking(move || imports.get(id)).await?
        }
        Some(Key::RequestId(id)) => {
            let id = id.parse::<RequestId>().map_err(violation("request_id"))?;
            blocking(move || imports.get_by_request(&id)).await?
        }
        None => return Err(Error::field("key", "nothing set, allowed are id and request_id")),
    };
    Ok(proto::GetImportResponse { import: Some(message(import)) })
}

pub(super) async fn commit(
    shared: &Shared,
    request: proto::CommitImportRequest,
) -> Result<proto::CommitImportResponse> {
    let offset = (request.offset > 0).then_some(request.offset);
    let task = shared.intake.imports().commit(import_id(&request.id)?, offset).await?;
    Ok(proto::CommitImportResponse { task: Some(task_message(&shared.handles.tasks, task).await?) })
}

pub(super) async fn delete(
    shared: &Shared,
    request: proto::DeleteImportRequest,
) -> Result<proto::DeleteImportResponse> {
    shared.intake.imports().delete(import_id(&request.id)?).await?;
    Ok(proto::DeleteImportResponse {})
}

/// Changes of an import, checked, as they are journalled.
pub(super) async fn encoded(changes: Vec<proto::Change>) -> Result<EncodedChanges> {
    let bytes = changes.iter().map(prost::Message::encoded_len).sum();
    blocking_for(bytes, move || Ok(EncodedChanges::of(&convert::changes(changes, false)?))).await
}

fn message(import: OpenImport) -> proto::Import {
    proto::Import {
        id: import.id.to_string(),
        request_id: import.request_id.map(|id| id.to_string()).unwrap_or_default(),
        hold: import.hold,
        next_offset: import.next_offset,
        digest: import.digest.as_bytes().to_vec().into(),
        expires_at: Some(timestamp_message(import.expires)),
    }
}
