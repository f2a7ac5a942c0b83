//! The timestamp of a run: asked for, checked, and put in the place of the last one.

use std::sync::Arc;

use rstuf_tuf::{Revision, RoleName};

use super::{check, run::Run};
use crate::{
    Repository, Result,
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    journal::{rows::SignedDocument, unusable_lane},
    tasks::Step,
};

/// Has the timestamp signed, and lets clients see it.
pub(super) async fn publish(
    handles: &Handles,
    repository: &Arc<Repository>,
    run: &Run,
    revision: &Revision,
) -> Result<SignedDocument> {
    run.progress(handles, Step::Timestamp);
    let snapshot = snapshot(handles, run)?.reference;
    let envelope = handles.published.document(&snapshot).await?;
    let asked = handles.signers.sign_timestamp(&repository.id, run.row.id, revision, envelope);
    let bytes = handles.effects.run(Effect::SignTimestamp, asked).await?;
    let (repository, revision, answer) = (repository.clone(), revision.clone(), bytes.clone());
    let document = blocking(move || check::timestamp(&repository, &revision, &snapshot, &answer)).await?;
    run.progress(handles, Step::Publish);
    handles.effects.run(Effect::ReplaceTimestamp, handles.publisher.replace_timestamp(bytes)).await?;
    Ok(document)
}

/// The snapshot that it is about.
pub(super) fn snapshot(handles: &Handles, run: &Run) -> Result<SignedDocument> {
    if let Some(document) = &run.row.snapshot_document {
        return Ok(document.clone());
    }
    let role = RoleName::snapshot();
    let row = handles.published.role(&role).ok_or_else(|| unusable_lane("no snapshot is published"))?;
    Ok(SignedDocument { reference: row.reference(&role), expires: row.expires })
}
