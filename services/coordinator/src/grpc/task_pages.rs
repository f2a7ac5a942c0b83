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

use super::fields::task_id;
use crate::{
    Error, Result,
    handles::Handles,
    journal::{
        Journal, StoredChange,
        rows::{TaskKind, TaskState},
    },
};

const SIZES: Sizes = Sizes { default: 1_000, max: 10_000 };
/// A page ends with the entry that brings it over so many bytes: gRPC libraries refuse messages above 4 MiB.
const PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Parts of the journal that a list goes through: a number that grows, a task, and how many parts that has.
type Source = (u64, Uuid, u32);

/// The results of a task that is done. Blocks.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NoTask`], [`Error::NoResults`].
pub(super) fn results(
    handles: &Handles,
    request: &proto::ListTaskResultsRequest,
) -> Result<proto::ListTaskResultsResponse> {
    let id = task_id(&request.id)?;
    let page = Page::read(SIZES, request.page_size, &request.page_token, &["results", &id.to_string()])?;
    let (row, _) = handles.tasks.get(id)?;
    if row.state != TaskState::Done {
        return Err(Error::NoResults { id: id.to_string() });
    }
    let mut sources = vec![(0, id, row.parts)];
    if row.kind == TaskKind::Publish {
        for (number, covered) in (1..).zip(handles.journal.covered(id)?) {
            // One that was submitted long before may be forgotten by now.
            sources.push((number, covered, handles.journal.task(covered)?.map_or(0, |row| row.parts)));
        }
    }
    let message = |result: Result<(TargetPath, Outcome)>| {
        let (path, outcome) = result?;
        Ok(proto::ChangeResult { path: path.to_string(), outcome: proto::Outcome::from(outcome).into() })
    };
    let read = |task, part, first| Ok(handles.journal.results(task, part, first)?.map(message));
    let (results, next_page_token) = gather(&page, &sources, read)?;
    Ok(proto::ListTaskResultsResponse { results, next_page_token })
}

/// The changes of a task that is not finished. Blocks.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NoTask`], [`Error::TaskFinished`].
pub(super) fn changes(
    handles: &Handles,
    request: &proto::ListTaskChangesRequest,
) -> Result<proto::ListTaskChangesResponse> {
    let id = task_id(&request.id)?;
    let page = Page::read(SIZES, request.page_size, &request.page_token, &["changes", &id.to_string()])?;
    let unfinished = || match handles.tasks.get(id)? {
        (row, _) if row.is_finished() => Err(Error::TaskFinished { id: id.to_string() }),
        (row, _) => Ok(row),
    };
    let row = unfinished()?;
    let sources = match row.kind {
        TaskKind::Publish => released(&handles.journal, id)?,
        TaskKind::Submission | TaskKind::Import | TaskKind::Ceremony => vec![(0, id, row.parts)],
    };
    let read = |task, part, first| {
        let stored = handles.journal.stored_changes(task, part, first)?;
        if stored.is_none() && task == id {
            return Err(Error::TaskFinished { id: id.to_string() });
        }
        Ok(stored.into_iter().flatten().map(|change| change.map(change_message)))
    };
    let (changes, next_page_token) = gather(&page, &sources, read)?;
    unfinished()?;
    Ok(proto::ListTaskChangesResponse { changes, next_page_token })
}

/// What a publish request is going to publish, as things stand: all that is held, and was acknowledged before it.
fn released(journal: &Journal, publish: Uuid) -> Result<Vec<Source>> {
    let Some((number, _)) = journal.publishes()?.into_iter().find(|(_, task)| *task == publish) else {
        return Ok(Vec::new());
    };
    let held = journal.submissions()?.into_iter().filter(|(seq, row)| row.hold && *seq < number);
    Ok(held.map(|(seq, row)| (seq, row.task, row.parts)).collect())
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
fn gather<T: Message, I: Iterator<Item = Result<T>>>(
    page: &Page,
    sources: &[Source],
    read: impl Fn(Uuid, u32, usize) -> Result<I>,
) -> Result<(Vec<T>, String)> {
    let begin = page.cursor(place)?.unwrap_or_default();
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for (source, task, parts) in sources.iter().filter(|(source, ..)| *source >= begin.0) {
        // That of the page before may be gone.
        let (first_part, mut first) = if *source == begin.0 { (begin.1, begin.2) } else { (0, 0) };
        for part in first_part..*parts {
            for (number, entry) in (first..).zip(read(*task, part, first)?) {
                if entries.len() == page.size() || bytes > PAGE_BYTES {
                    return Ok((entries, page.token(&format!("{source}:{part}:{number}"))));
                }
                let entry = entry?;
                bytes += entry.encoded_len();
                entries.push(entry);
            }
            first = 0;
        }
    }
    Ok((entries, String::new()))
}

/// Number of the source, of its part, of the entry in that.
fn place(text: &str) -> Option<(u64, u32, usize)> {
    let mut numbers = text.split(':');
    let place = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    numbers.next().is_none().then_some(place)
}
