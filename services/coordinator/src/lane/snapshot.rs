//! The snapshot of a run: asked for, checked and written.

use std::sync::Arc;

use bytes::Bytes;
use rstuf_runtime::liveness::beat;
use rstuf_tuf::Revision;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{check, overtaken, run::Run};
use crate::{
    Error, Repository, Result,
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    journal::rows::SignedDocument,
    publisher::{NamedDocument, file_name},
    signers::SnapshotMessage,
    tasks::Step,
};

/// Documents on their way to the snapshot signer.
const DOCUMENTS_AHEAD: usize = 64;

/// Has the snapshot signed and writes it, so that it is durable before anything refers to it. None if it lists
/// documents that are neither published nor the run's.
pub(super) async fn sign(
    handles: &Handles,
    repository: &Arc<Repository>,
    run: &Run,
    revision: &Revision,
) -> Result<Option<SignedDocument>> {
    run.progress(handles, Step::Snapshot);
    let documents = run.documents();
    let asked = ask(handles, repository, run, revision, &documents);
    let bytes = handles.effects.run(Effect::SignSnapshot, asked).await?;
    let (repository, revision) = (repository.clone(), revision.clone());
    let (published, answer) = (handles.published.clone(), bytes.clone());
    let checked = blocking(move || {
        let (document, snapshot) = check::snapshot(&repository, &revision, &documents, &answer)?;
        Ok(Some(document).filter(|_| overtaken::unknown(&published, &documents, &snapshot).is_empty()))
    });
    let Some(document) = checked.await? else { return Ok(None) };
    let write = async {
        let name = file_name(&document.reference.role, document.reference.version);
        handles.publisher.write(vec![NamedDocument { name, bytes }]).await?;
        handles.publisher.barrier().await
    };
    handles.effects.run(Effect::WriteSnapshot, write).await?;
    Ok(Some(document))
}

async fn ask(
    handles: &Handles,
    repository: &Repository,
    run: &Run,
    revision: &Revision,
    documents: &[SignedDocument],
) -> Result<Bytes> {
    let header = SnapshotMessage::header(&repository.id, run.row.id, revision);
    let end = SnapshotMessage::end(documents.iter().map(|document| document.reference.sha256));
    let (sender, receiver) = mpsc::channel(DOCUMENTS_AHEAD);
    let published = handles.published.clone();
    let feed = async move {
        // A signer that hangs up says why in its answer.
        if sender.send(header).await.is_err() {
            return Ok(());
        }
        for SignedDocument { reference, .. } in documents {
            beat();
            let envelope = published.document(reference).await?;
            if sender.send(SnapshotMessage::document(&reference.role, envelope)).await.is_err() {
                return Ok(());
            }
        }
        let _ = sender.send(end).await;
        Ok::<_, Error>(())
    };
    let (fed, answer) = tokio::join!(feed, handles.signers.sign_snapshot(ReceiverStream::new(receiver)));
    fed?;
    answer
}
