//! Changes handed over as one import, message by message. It goes on after a broken connection, after a restart of the
//! coordinator, and where an earlier run of the command was stopped; but only with the very changes of that run.

use indicatif::ProgressBar;
use rstuf_api::limits;
use rstuf_tuf::{Change, Sha256};
use tokio::sync::mpsc;

use crate::{
    client::{Client, Created, Digest, Elsewhere, OpenImport, Outgoing, Part},
    error::Error,
    output::Output,
    view,
};

/// Messages that are made ahead of the one being sent.
const PARTS_AHEAD: usize = 2;
/// Bytes of changes in one message: large enough to be quick, small enough to show progress.
const PART_BYTES_MAX: usize = 1024 * 1024;
/// Up to so many changes no coordinator's limit is in the way; above, it is asked for its limits.
const CHANGES_UNASKED_MAX: usize = 1_000;
/// Room for what a request holds besides its changes, in bytes.
const FRAME_BYTES: usize = 1024;

/// What one message may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) changes_max: usize,
    pub(crate) bytes_max: usize,
}

/// What a message of `changes` may hold.
pub(crate) async fn limits_of(client: &Client, changes: usize) -> Result<Limits, Error> {
    let (mut changes_max, mut bytes_max) = (limits::CHANGES_PER_SUBMISSION_MAX, limits::REQUEST_BYTES_MAX);
    if changes > CHANGES_UNASKED_MAX {
        let theirs = client.describe().await?;
        changes_max = theirs.changes_max.unwrap_or(changes_max);
        bytes_max = theirs.request_bytes_max.unwrap_or(bytes_max);
    }
    Ok(Limits { changes_max, bytes_max: bytes_max.saturating_sub(FRAME_BYTES) })
}

/// Cuts changes, which come one after the other, into as few messages as the limits allow.
pub(crate) struct Cut<S> {
    source: S,
    limits: Limits,
    /// What the last message had no room for.
    waiting: Option<Outgoing>,
}

impl<S: FnMut() -> Result<Option<Change>, Error>> Cut<S> {
    pub(crate) fn new(source: S, limits: Limits) -> Self {
        Self { source, limits, waiting: None }
    }

    /// The changes of the next message; none at the end.
    ///
    /// # Errors
    /// Those of the source.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, Error> {
        let mut part = Part::default();
        if let Some(change) = self.waiting.take() {
            part.push(change);
        }
        while part.len() < self.limits.changes_max
            && let Some(change) = self.change()?
        {
            if !part.is_empty() && part.bytes() + change.size() > self.limits.bytes_max {
                self.waiting = Some(change);
                break;
            }
            part.push(change);
        }
        Ok((!part.is_empty()).then_some(part))
    }

    /// Leaves out the first `count` changes, or all where there are fewer; answers how many, and their digest.
    fn skip(&mut self, count: u64) -> Result<(u64, Sha256), Error> {
        let (mut skipped, mut digest) = (0, Digest::default());
        while skipped < count
            && let Some(change) = self.change()?
        {
            digest.add(&change);
            skipped += 1;
        }
        Ok((skipped, digest.value()))
    }

    fn change(&mut self) -> Result<Option<Outgoing>, Error> {
        Ok((self.source)()?.as_ref().map(Outgoing::from))
    }
}

/// What is said of the whole import.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) limits: Limits,
    pub(crate) request_id: String,
    pub(crate) hold: bool,
    /// Whether nobody knows the request id yet, which it takes to go on.
    pub(crate) tell_id: bool,
    /// Begin anew where an earlier run was stopped.
    pub(crate) restart: bool,
    pub(crate) output: Output,
}

/// Why no more is read.
enum Stopped {
    /// The changes are not those that the open import has.
    Other(Error),
    /// The source can't be read, or is wrong.
    Source(Error),
}

/// Hands the changes over; goes on where an earlier run with the request id stopped.
///
/// # Errors
/// Where that had other changes; those of the source; where they are refused, or the coordinator can't be reached.
pub(crate) async fn upload<S>(client: &Client, source: S, order: &Order, bar: &ProgressBar) -> Result<view::Task, Error>
where
    S: FnMut() -> Result<Option<Change>, Error> + Send + 'static,
{
    let bytes_max = order.limits.bytes_max.min(PART_BYTES_MAX);
    let mut cut = Cut::new(source, Limits { bytes_max, ..order.limits });
    // Before anything is created: the earlier run may have been held, and this one not.
    if order.restart
        && let Some(import) = client.open_import(&order.request_id).await?
    {
        client.delete_import(&import.id).await?;
        order.output.note(&format!("dropped {} changes of an earlier run", import.next_offset));
    }
    match client.create_import(&order.request_id, order.hold).await? {
        Created::Open(import) => append(client, import, cut, order, bar).await,
        Created::Used(used) => {
            let digested = tokio::task::spawn_blocking(move || cut.skip(u64::MAX)).await;
            let (_, digest) = digested.map_err(|error| unread(&error))??;
            if used.is_for(digest, order.hold) { client.task(&used.task).await } else { Err(used.refusal) }
        }
    }
}

/// Appends what the import lacks, message by message, and commits it.
async fn append<S>(
    client: &Client,
    import: OpenImport,
    cut: Cut<S>,
    order: &Order,
    bar: &ProgressBar,
) -> Result<view::Task, Error>
where
    S: FnMut() -> Result<Option<Change>, Error> + Send + 'static,
{
    let (mut id, mut offset) = (import.id.clone(), import.next_offset);
    let (sender, mut receiver) = mpsc::channel(PARTS_AHEAD);
    let producing = order.clone();
    let producer = tokio::task::spawn_blocking(move || produce(cut, &import, &producing, &sender));
    let mut tell_id = order.tell_id;
    while let Some(part) = receiver.recv().await {
        // An import without changes lapses soon, and to read the first ones may have taken longer.
        if offset == 0 {
            id = client.create_import(&order.request_id, order.hold).await?.open()?.id;
        }
        let appended = client.append_import(&id, offset, part).await?;
        offset = appended.map_err(|elsewhere| by_another(&elsewhere, &order.request_id))?;
        if std::mem::take(&mut tell_id) {
            // Whoever stops it must know the id to go on.
            order.output.note(&format!("if it is stopped, the same goes on with --request-id {}", order.request_id));
        }
    }
    match producer.await.map_err(|error| unread(&error))? {
        Ok(()) => {}
        Err(Stopped::Other(error)) => return Err(error),
        Err(Stopped::Source(error)) => {
            // Nobody is going to commit it; where that fails, it lapses by itself.
            let _ = client.delete_import(&id).await;
            return Err(error);
        }
    }
    bar.finish_and_clear();
    let spinner = order.output.spinner("waiting until the coordinator has it safely on disk");
    let committed = client.commit_import(&id, offset).await;
    spinner.finish_and_clear();
    committed?.map_err(|elsewhere| by_another(&elsewhere, &order.request_id))
}

/// Makes messages of all changes but those that the import has. Ends early when nobody takes them any more: then the
/// call's answer tells why.
fn produce<S: FnMut() -> Result<Option<Change>, Error>>(
    mut cut: Cut<S>,
    known: &OpenImport,
    order: &Order,
    sender: &mpsc::Sender<Part>,
) -> Result<(), Stopped> {
    let count = known.next_offset;
    if count > 0 {
        let (found, digest) = cut.skip(count).map_err(Stopped::Other)?;
        if found < count || digest != known.digest {
            return Err(Stopped::Other(other(known, found, &order.request_id)));
        }
        order.output.note(&format!("going on after {count} changes that the coordinator has"));
    }
    while let Some(part) = cut.next().map_err(Stopped::Source)? {
        if sender.blocking_send(part).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// That another run has the same import meanwhile: each would send what the other sends.
fn by_another(elsewhere: &Elsewhere, request_id: &str) -> Error {
    let (what, then) = match elsewhere {
        Elsewhere::At(changes) => (
            format!("another run is importing with request id {request_id}, and has sent {changes} changes"),
            "wait for that run: the same again is answered with its task then, or goes on where it stopped",
        ),
        Elsewhere::Committed => (
            format!("another run has imported with request id {request_id} meanwhile"),
            "the same again is answered with its task, where that has the same changes",
        ),
        Elsewhere::Gone => (
            format!("the import with request id {request_id} is gone: another run dropped it, or it lapsed"),
            "the same again begins anew",
        ),
    };
    Error::try_again(what).next(format!("{then}; another --request-id is another import"))
}

/// That the changes are not those that an earlier run sent: to go on would make one import of two sources.
fn other(known: &OpenImport, found: u64, request_id: &str) -> Error {
    let count = known.next_offset;
    let differ = if found < count { format!("here are only {found}") } else { "here the first ones differ".to_owned() };
    let message =
        format!("an earlier run with request id {request_id} sent {count} changes, {differ}; nothing is sent");
    Error::failed(message).next(
        "import what that run did, and it goes on; --restart drops what that run sent and begins anew; \
         another --request-id leaves it alone",
    )
}

fn unread(error: &tokio::task::JoinError) -> Error {
    Error::failed(format!("reading failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(count: usize) -> impl FnMut() -> Result<Option<Change>, Error> {
        let mut changes = (0..count).map(|at| Change::Remove { path: format!("artifact/{at:06}").parse().unwrap() });
        move || Ok(changes.next())
    }

    fn parts(count: usize, changes_max: usize, bytes_max: usize) -> Vec<Part> {
        let mut cut = Cut::new(source(count), Limits { changes_max, bytes_max });
        std::iter::from_fn(|| cut.next().unwrap()).collect()
    }

    #[test]
    fn changes_are_cut_by_number_and_by_size_and_none_is_lost() {
        let by_number = parts(25, 10, 1 << 20);
        assert_eq!(by_number.iter().map(Part::len).collect::<Vec<_>>(), [10, 10, 5]);
        let by_size = parts(25, 10_000, 100);
        assert!(by_size.len() > 5 && by_size.len() < 25, "{}", by_size.len());
        assert!(by_size.iter().all(|part| part.bytes() <= 100));
        let count = |parts: &[Part]| parts.iter().map(Part::len).sum::<usize>();
        assert_eq!((count(&by_size), count(&by_number)), (25, 25));
        assert_eq!(parts(25, 25, 1 << 20).len(), 1);
        assert_eq!(parts(3, 10, 1).len(), 3, "one change is sent whatever its size");
    }

    /// What is left out is just what the coordinator has.
    #[test]
    fn what_is_left_out_is_digested_and_the_rest_comes() {
        let limits = Limits { changes_max: 10, bytes_max: 1 << 20 };
        let mut cut = Cut::new(source(25), limits);
        let (skipped, digest) = cut.skip(12).unwrap();
        assert_eq!((skipped, cut.next().unwrap().unwrap().len(), cut.next().unwrap().unwrap().len()), (12, 10, 3));
        assert_eq!(Cut::new(source(12), limits).skip(u64::MAX), Ok((12, digest)));
        assert_ne!(Cut::new(source(11), limits).skip(12), Ok((12, digest)));
    }
}
