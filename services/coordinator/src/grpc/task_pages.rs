//! Pages of what tasks did, and of what they are going to do: both stand in the journal in parts.

use prost::Message;
use rstuf_api::{
    page::{Page, Sizes},
    proto::{
        artifacts::v1::{self as artifacts, change::Kind},
        tasks::v1 as proto,
    },
};
use rstuf_tuf::{Outcome, TargetPath};
use uuid::Uuid;

use super::{fields::task_id, shared::Shared};
use crate::{
    Error, Result,
    journal::{
        StoredChange,
        rows::{TaskKind, TaskState},
    },
    tasks::is_finished,
};

const SIZES: Sizes = Sizes { default: 1_000, max: 10_000 };
/// A page ends with the entry that brings it over so many bytes: gRPC libraries refuse messages above 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// The results of a task that is done.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NoTask`], [`Error::NoResults`].
pub(super) fn results(
    shared: &Shared,
    request: &proto::ListTaskResultsRequest,
) -> Result<proto::ListTaskResultsResponse> {
    let id = task_id(&request.id)?;
    let page = Page::read(SIZES, request.page_size, &request.page_token, &["results", &id.to_string()])?;
    let (row, _) = shared.handles.tasks.get(id)?;
    if row.state != TaskState::Done {
        return Err(Error::NoResults { id: id.to_string() });
    }
    let mut tasks = vec![(id, row.parts)];
    if row.kind == TaskKind::Publish {
        for covered in shared.handles.journal.covered(id)? {
            // One that was submitted long before may be forgotten by now.
            tasks.push((covered, shared.handles.journal.task(covered)?.map_or(0, |row| row.parts)));
        }
    }
    let message = |(path, outcome): (TargetPath, Outcome)| proto::ChangeResult {
        path: path.to_string(),
        outcome: proto::Outcome::from(outcome).into(),
    };
    let read = |task, part| Ok(shared.handles.journal.results(task, part)?.into_iter().map(message).collect());
    let (results, next_page_token) = gather(&page, &tasks, read)?;
    Ok(proto::ListTaskResultsResponse { results, next_page_token })
}

/// The changes of a task that is not finished.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NoTask`], [`Error::TaskFinished`].
pub(super) fn changes(
    shared: &Shared,
    request: &proto::ListTaskChangesRequest,
) -> Result<proto::ListTaskChangesResponse> {
    let id = task_id(&request.id)?;
    let page = Page::read(SIZES, request.page_size, &request.page_token, &["changes", &id.to_string()])?;
    let unfinished = || match shared.handles.tasks.get(id)? {
        (row, _) if is_finished(row.state) => Err(Error::TaskFinished { id: id.to_string() }),
        (row, _) => Ok(row),
    };
    let row = unfinished()?;
    let read = |task, part| {
        let stored = shared.handles.journal.stored_changes(task, part)?;
        Ok(stored.into_iter().map(change_message).collect())
    };
    let (changes, next_page_token) = gather(&page, &[(id, row.parts)], read).or_else(|error| {
        // The end of a task deletes its changes, maybe just now.
        unfinished()?;
        Err(error)
    })?;
    Ok(proto::ListTaskChangesResponse { changes, next_page_token })
}

fn change_message(change: StoredChange) -> proto::TaskChange {
    let mut message = proto::TaskChange { path: change.path().to_string(), ..Default::default() };
    match change.into_message().kind {
        Some(Kind::Add(artifact)) => {
            message.set_kind(proto::ChangeKind::Add);
            message.length = artifact.length;
            let sha256 = artifact.hashes.iter().find(|hash| hash.algorithm() == artifacts::HashAlgorithm::Sha256);
            message.sha256 = sha256.map(|hash| hash.digest.clone()).unwrap_or_default();
        }
        Some(Kind::RemovePath(_)) | None => message.set_kind(proto::ChangeKind::Remove),
    }
    message
}

/// Gathers one page out of the parts of tasks; answers the token of the next one too.
fn gather<T: Message>(
    page: &Page,
    tasks: &[(Uuid, u32)],
    read: impl Fn(Uuid, u32) -> Result<Vec<T>>,
) -> Result<(Vec<T>, String)> {
    let (first, mut part, mut skip) = page.cursor(place)?.unwrap_or_default();
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for (index, (task, parts)) in tasks.iter().enumerate().skip(first) {
        while part < *parts {
            for (number, entry) in read(*task, part)?.into_iter().enumerate().skip(skip) {
                if entries.len() == page.size() || bytes > PAGE_BYTES {
                    return Ok((entries, page.token(&format!("{index}:{part}:{number}"))));
                }
                bytes += entry.encoded_len();
                entries.push(entry);
            }
            (part, skip) = (part + 1, 0);
        }
        (part, skip) = (0, 0);
    }
    Ok((entries, String::new()))
}

/// Number of the task, of its part, of the entry in that.
fn place(text: &str) -> Option<(usize, u32, usize)> {
    let mut numbers = text.split(':');
    let place = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    numbers.next().is_none().then_some(place)
}
