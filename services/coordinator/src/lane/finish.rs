//! The end of a run: clients see it, so say so in the journal, to the tasks, to the list.

use std::{collections::BTreeSet, sync::Arc};

use rstuf_tuf::RoleName;

use super::run::Run;
use crate::{
    Result,
    batch::finish::Completion,
    blocking::blocking,
    effects::Effect,
    handles::Handles,
    journal::{
        Entry,
        rows::{LaneRow, PublicationRow, RoleRow, SignedDocument},
    },
    published::{
        index::{Index, Update},
        retention::Retention,
    },
    tasks::Ending,
};

/// What a file takes on the disk at least: many small documents cost more than their bytes.
const BLOCK_BYTES: u64 = 4_096;

/// Ends a run whose timestamp clients see; the lane goes on with `next`. Answers the bytes that it wrote.
pub(super) async fn published(
    handles: &Handles,
    index: &Index,
    retention: &Retention,
    run: &Run,
    timestamp: SignedDocument,
    next: Option<&LaneRow>,
) -> Result<u64> {
    let now = handles.steady.now();
    let publication = PublicationRow { number: handles.published.publication().number + 1, at: now };
    let mut documents = run.documents();
    documents.extend(run.row.snapshot_document.clone());
    let lengths = documents.iter().map(|document| document.reference.length);
    let written = lengths.map(|length| length.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES)).sum();
    documents.push(timestamp);
    let roles: Vec<(RoleName, RoleRow)> = documents.into_iter().map(SignedDocument::into_row).collect();
    let roles = Arc::new(roles);
    let foreign = run.with_foreign_changes(handles);
    let relisted = foreign.iter().map(|document| document.role.clone()).collect();
    let (next, visible, past) = (next.cloned(), roles.clone(), handles.published.superseded_withdrawals(&roles));
    let begin = move |entry: &mut Entry| {
        entry.set_lane(next.as_ref());
        entry.put_publication(&publication);
        visible.iter().for_each(|(role, row)| entry.put_role(role, row));
        past.iter().for_each(|role| entry.delete_withdrawn(role));
    };
    let (entry, update) = complete(handles, index, run, publication.number, relisted, begin).await?;
    let update = index.relist(&handles.published, &foreign, update).await?;
    // Clients see it already, so readers may; whoever sees the task done must. Files go only when the journal names
    // them no more.
    let superseded = Retention::superseded(&handles.published, &roles);
    let (index, published) = (index.clone(), handles.published.clone());
    blocking(move || {
        let prepared = index.prepare(update);
        published.advance_with(publication, Arc::unwrap_or_clone(roles), || index.install(prepared));
        Ok(())
    })
    .await?;
    handles.effects.run(Effect::Finish, handles.commit(entry)).await?;
    retention.push(superseded);
    tell(handles, run);
    tracing::info!(publication = publication.number, tasks = run.tasks.len(), "published");
    Ok(written)
}

/// Ends a run with nothing to publish: the repository says already what was asked for.
pub(super) async fn unchanged(handles: &Handles, index: &Index, run: &Run) -> Result<()> {
    let (entry, _) = complete(handles, index, run, 0, BTreeSet::new(), |_| {}).await?;
    handles.effects.run(Effect::Finish, handles.commit(entry)).await?;
    tell(handles, run);
    Ok(())
}

/// What is journalled of the end of a run: first what `begin` says, then that its batch is done.
async fn complete(
    handles: &Handles,
    index: &Index,
    run: &Run,
    publication: u64,
    relisted: BTreeSet<RoleName>,
    begin: impl FnOnce(&mut Entry) + Send + 'static,
) -> Result<(Entry, Update)> {
    let (mut update, batch) = (index.update(), run.batch.clone());
    let (handles, now) = (handles.clone(), handles.steady.now());
    blocking(move || {
        let mut entry = Entry::new();
        begin(&mut entry);
        let Some((batch, changes)) = batch else { return Ok((entry, update)) };
        let signed = batch.signed.clone().unwrap_or_default();
        let (handles, changes, batch, signed, relisted) = (&handles, &changes, &batch, &signed, &relisted);
        let completion = Completion { handles, changes, batch, signed, publication, now, relisted };
        completion.write(&mut entry, &mut update)?;
        Ok((entry, update))
    })
    .await
}

fn tell(handles: &Handles, run: &Run) {
    handles.tasks.count_ended(Ending::Done, run.submissions());
    handles.tasks.settled(&run.tasks);
}
