//! The snapshot of a run: asked for, checked and written.

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use rstuf_api::DocumentRef;
use rstuf_runtime::liveness::beat;
use rstuf_tuf::{Revision, RoleName};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{check, overtaken, run::Run};
use crate::{
    Error, Repository, Result,
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    journal::rows::{LaneRow, SignedDocument},
    published::Published,
    publisher::{NamedDocument, file_name},
    signers::SnapshotMessage,
    tasks::Step,
};

/// Documents that are read, and go to the snapshot signer, together: each time, threads are woken.
const CHUNK_DOCUMENTS: usize = 256;
/// Bytes of them; a larger document goes alone.
const CHUNK_BYTES: u64 = 2 * 1024 * 1024;
/// Chunks that are read while others are on their way.
const CHUNKS_READ: usize = 2;
/// Chunks on their way.
const CHUNKS_AHEAD: usize = 1;

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

/// The document of a run's snapshot, where that is signed: a crash may have come after it was written. Where the
/// timestamp over it is planned, that is all that has to be known of it, and its signer need not be asked again.
pub(super) async fn signed(
    handles: &Handles,
    repository: &Arc<Repository>,
    run: &Run,
) -> Result<Option<SignedDocument>> {
    let LaneRow { snapshot: Some(revision), snapshot_document: None, timestamp: Some(_), .. } = &run.row else {
        return Ok(run.row.snapshot_document.clone());
    };
    let written = handles.publisher.read(&file_name(&RoleName::snapshot(), revision.version)).await?;
    let Some(bytes) = written else { return Ok(None) };
    let (repository, revision) = (repository.clone(), revision.clone());
    let (published, documents) = (handles.published.clone(), run.documents());
    blocking(move || {
        let Ok((document, snapshot)) = check::snapshot(&repository, &revision, &documents, &bytes) else {
            return Ok(None);
        };
        Ok(Some(document).filter(|_| overtaken::unknown(&published, &documents, &snapshot).is_empty()))
    })
    .await
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
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let published = handles.published.clone();
    let feed = async move {
        // A signer that hangs up says why in its answer.
        if sender.send(vec![header]).await.is_err() {
            return Ok(());
        }
        let chunks = stream::iter(chunks(documents)).map(|chunk| read(published.clone(), chunk));
        let mut read = pin!(chunks.buffered(CHUNKS_READ));
        while let Some(messages) = read.next().await {
            beat();
            if sender.send(messages?).await.is_err() {
                return Ok(());
            }
        }
        let _ = sender.send(vec![end]).await;
        Ok::<_, Error>(())
    };
    let messages = ReceiverStream::new(receiver).flat_map(stream::iter);
    let (fed, answer) = tokio::join!(feed, handles.signers.sign_snapshot(messages));
    fed?;
    answer
}

/// Cuts documents into those that go together.
fn chunks(documents: &[SignedDocument]) -> Vec<Vec<DocumentRef>> {
    let (mut chunks, mut bytes) = (Vec::<Vec<_>>::new(), 0);
    for SignedDocument { reference, .. } in documents {
        bytes += reference.length;
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_DOCUMENTS && bytes <= CHUNK_BYTES => chunk.push(reference.clone()),
            _ => {
                bytes = reference.length;
                chunks.push(vec![reference.clone()]);
            }
        }
    }
    chunks
}

async fn read(published: Published, chunk: Vec<DocumentRef>) -> Result<Vec<SnapshotMessage>> {
    let roles: Vec<_> = chunk.iter().map(|reference| reference.role.clone()).collect();
    let envelopes = published.documents(chunk).await?;
    Ok(roles.iter().zip(envelopes).map(|(role, envelope)| SnapshotMessage::document(role, envelope)).collect())
}
