//! `rstuf import`: many artifacts from a file, as one task.

mod lines;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use prost::Message as _;
use rstuf_api::proto::artifacts::v1::{self as artifacts, ImportArtifactsRequest};
use rstuf_api::proto::tasks::v1::Task;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use self::lines::Lines;
use crate::client::{Broken, Client, RETRY, unknown_before};
use crate::context::Context;
use crate::error::Error;
use crate::submit::{self, Before, Limits, SubmitArgs};
use crate::view;

/// Messages that are read ahead of the one being sent.
const PARTS_AHEAD: usize = 2;

/// Bytes of changes in one message: large enough to be quick, small enough to show progress.
const PART_BYTES_MAX: usize = 2 * 1024 * 1024;

const EXAMPLES: &str = "\
Each line is `path;length;algorithm;digest`, in UTF-8: length in bytes; algorithm sha256, sha512 or blake2b-256; digest in
lower-case hexadecimal digits. A path that holds `;` or `\"` is put in quotes. Lines of one path with several algorithms
stand together; sha256 must be among them. The first line may be `path;length;algorithm;digest`.

The import takes effect whole or not at all: a line that is wrong ends it, and nothing of it takes effect. It is published
at once, as one task. Of several artifacts with one path the last counts.

Examples:
  rstuf import artifacts.csv
  find . -type f -printf '%P;%s;sha256;' -exec sh -c 'sha256sum \"$1\" | cut -c1-64' _ {} \\; | rstuf import -
  rstuf import --no-wait --request-id migration-1 artifacts.csv";

/// Import many artifacts from a file, as one task
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    submit: SubmitArgs,
}

pub(crate) async fn run(context: &Context, args: ImportArgs) -> Result<(), Error> {
    let client = context.client()?;
    let source = Source::new(&args.file)?;
    let request_id = args.submit.request.request_id();
    let order = Order {
        limits: submit::limits_of(&client, usize::MAX).await?,
        request_id: request_id.clone(),
        hold: args.submit.hold,
    };
    let bar = context.output.bytes_bar(source.length(), "importing");
    let task = import(&client, &source, &order, &bar).await;
    bar.finish_and_clear();
    let task = task.map_err(|error| error.of_request(&request_id))?;
    submit::finish(context, &client, view::Task::from(task), &args.submit, Before::default()).await.map(drop)
}

/// What is said of the whole import.
#[derive(Debug, Clone)]
struct Order {
    limits: Limits,
    request_id: String,
    hold: bool,
}

/// Where lines come from.
enum Source {
    Stdin,
    /// With its length in bytes.
    File(PathBuf, u64),
}

impl Source {
    fn new(path: &Path) -> Result<Source, Error> {
        if path == Path::new("-") {
            return Ok(Source::Stdin);
        }
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            let message = format!("{} is a directory, allowed: a file or -", path.display());
            return Err(Error::usage(message).next("`rstuf artifact add` takes directories of artifacts"));
        }
        Ok(Source::File(path.to_owned(), metadata.len()))
    }

    fn length(&self) -> u64 {
        match self {
            Source::Stdin => 0,
            Source::File(_, length) => *length,
        }
    }

    /// From the start; standard input only once.
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        match self {
            Source::Stdin => Ok(Box::new(std::io::stdin())),
            Source::File(path, _) => Ok(Box::new(File::open(path).map_err(|error| unreadable(path, &error))?)),
        }
    }

    fn again(&self) -> bool {
        matches!(self, Source::File(..))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("{} cannot be read: {error}", path.display()))
}

/// Streams the source; a file is streamed again where that helps. The request id makes that one import.
async fn import(client: &Client, source: &Source, order: &Order, bar: &ProgressBar) -> Result<Task, Error> {
    let mut patience = client.patience(RETRY, bar.clone());
    let mut unknown_now = false;
    loop {
        bar.set_position(0);
        let Broken { error, unknown } = match attempt_once(client, source.open()?, order, bar).await? {
            Ok(task) => return Ok(task),
            Err(broken) => broken,
        };
        unknown_now |= unknown;
        let error = if unknown_now { unknown_before(error) } else { error };
        if !source.again() {
            return Err(error);
        }
        // What counts is how often it was tried: a large file takes its time.
        patience.heard();
        patience.again(error).await?;
    }
}

async fn attempt_once(
    client: &Client,
    reader: Box<dyn Read + Send>,
    order: &Order,
    bar: &ProgressBar,
) -> Result<Result<Task, Broken>, Error> {
    let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
    let reader = bar.wrap_read(reader);
    let order = order.clone();
    let mut producer = tokio::task::spawn_blocking(move || produce(Lines::new(reader), &order, &sender));

    // The stream may end only after the last line: the coordinator takes the end for a yes. Where reading fails, the
    // stream stands still until the call is dropped, which takes everything back.
    let parts = ReceiverStream::new(receiver).chain(tokio_stream::pending());
    let parts = parts.take_while(Option::is_some).filter_map(|part| part);
    let call = client.import_stream(parts);
    tokio::pin!(call);
    tokio::select! {
        answer = &mut call => return answer,
        produced = &mut producer => {
            produced.map_err(|error| Error::failed(format!("reading failed: {error}")))??;
        }
    }
    call.await
}

/// Reads all lines into messages, the last one followed by `None`. Ends early when nobody takes them any more: then the
/// call's answer tells why.
fn produce<R: Read>(
    mut lines: Lines<R>,
    order: &Order,
    parts: &mpsc::Sender<Option<ImportArtifactsRequest>>,
) -> Result<(), Error> {
    let bytes_max = order.limits.bytes_max.min(PART_BYTES_MAX) / 2;
    let empty = || ImportArtifactsRequest { hold: order.hold, ..Default::default() };
    let mut part = ImportArtifactsRequest { request_id: order.request_id.clone(), ..empty() };
    let (mut bytes, mut total) = (0, 0_u64);
    while let Some(change) = lines.next_change()? {
        let message = artifacts::Change::from(&change);
        bytes += message.encoded_len();
        part.changes.push(message);
        total += 1;
        if part.changes.len() >= order.limits.changes_max || bytes >= bytes_max {
            bytes = 0;
            if parts.blocking_send(Some(std::mem::replace(&mut part, empty()))).is_err() {
                return Ok(());
            }
        }
    }
    if total == 0 {
        return Err(Error::failed("there is no line, so nothing to import"));
    }
    let rest = (!part.changes.is_empty()).then_some(part);
    for last in rest.into_iter().map(Some).chain([None]) {
        if parts.blocking_send(last).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(changes_max: usize) -> Order {
        Order { limits: Limits { changes_max, bytes_max: 1 << 20 }, request_id: "id7".into(), hold: true }
    }

    fn parts(text: &str, changes_max: usize) -> (Result<(), Error>, Vec<Option<ImportArtifactsRequest>>) {
        let (sender, mut receiver) = mpsc::channel(1_000);
        let outcome = produce(Lines::new(text.as_bytes()), &order(changes_max), &sender);
        drop(sender);
        (outcome, std::iter::from_fn(|| receiver.blocking_recv()).collect())
    }

    fn text(lines: usize) -> String {
        (0..lines).map(|at| format!("a/{at};1;sha256;{}\n", "ab".repeat(32))).collect()
    }

    #[test]
    fn lines_become_bounded_messages_and_an_end() {
        let (outcome, parts) = parts(&text(25), 10);
        assert_eq!(outcome, Ok(()));
        let sizes: Vec<_> = parts.iter().map(|part| part.as_ref().map(|it| it.changes.len())).collect();
        assert_eq!(sizes, [Some(10), Some(10), Some(5), None]);
        let ids: Vec<_> = parts.iter().flatten().map(|part| part.request_id.as_str()).collect();
        assert_eq!(ids, ["id7", "", ""]);
    }

    /// Without the end, the coordinator never hears that the import is complete.
    #[test]
    fn a_wrong_line_leaves_the_import_without_an_end() {
        let (outcome, parts) = parts(&format!("{}a;x;sha256;y\n", text(11)), 10);
        assert!(outcome.unwrap_err().message.starts_with("line 12: length"));
        assert_eq!(parts.len(), 1);
        assert!(parts.iter().all(Option::is_some));
    }

    #[test]
    fn an_empty_file_is_not_an_import() {
        let (outcome, parts) = parts("path;length;algorithm;digest\n", 10);
        assert!(outcome.unwrap_err().message.contains("nothing to import"));
        assert!(parts.is_empty());
    }
}
