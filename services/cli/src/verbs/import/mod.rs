//! `rstuf import`: many artifacts from a file, as one task.

mod lines;
mod objects;
mod parts;
mod rows;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use self::parts::{Format, Parts};
use crate::{
    client::{Broken, Client, Created, OpenImport, Part},
    context::Context,
    error::Error,
    output::Output,
    submit::{self, Before, Limits, SubmitArgs},
    view::Task,
};

/// Messages that are read ahead of the one being sent.
const PARTS_AHEAD: usize = 2;

const EXAMPLES: &str = "\
Each line adds or removes one artifact, in one of these formats; the first line shows which, or --format says it:

  commas      path,length,algorithm,digest
  semicolons  path;length;algorithm;digest
  jsonl       {\"path\": \"a/b\", \"length\": 5, \"hashes\": {\"sha256\": \"...\"}, \"custom\": {\"any\": \"thing\"}}

With commas or semicolons the first line may name the columns, then in any order. The algorithm is sha256, sha512 or
blake2b-256, the digest in lower-case hexadecimal digits, the length in bytes. A path that holds the delimiter or `\"`
is put in quotes. Lines of one path with several algorithms stand together; sha256 must be among them. A fifth column,
action, removes: `path,,,,remove`. In JSON Lines that is {\"remove\": \"path\"}, and `custom` may be left out.

The import takes effect whole or not at all: where lines are wrong, the first 20 are told, and nothing of it takes
effect. It is published at once, as one task. Of several changes to one path the last counts. It goes on by itself where
the connection breaks, and where the command was stopped if the same is imported with the same --request-id within a
day, or within 10 minutes where nothing had arrived yet.

Examples:
  rstuf import artifacts.csv
  find . -type f -printf '%P;%s;sha256;' -exec sh -c 'sha256sum \"$1\" | cut -c1-64' _ {} \\; | rstuf import -
  rstuf artifact list --all --json | jq -c '.artifacts[]' | rstuf import --server http://other:50051 --format jsonl -
  rstuf import --no-wait --request-id migration-1 artifacts.csv";

/// Import many artifacts from a file, as one task
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How its lines are read [default: as the first line looks]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    submit: SubmitArgs,
}

pub(crate) async fn run(context: &Context, args: ImportArgs) -> Result<(), Error> {
    let client = context.client()?;
    let source = Source::new(&args.file)?;
    let request_id = args.submit.request.request_id();
    if args.submit.request.is_random() {
        // Whoever stops it must know the id to go on.
        context.output.note(&format!("if it is stopped, the same goes on with --request-id {request_id}"));
    }
    let order = Order {
        limits: submit::limits_of(&client, usize::MAX).await?,
        request_id: request_id.clone(),
        hold: args.submit.hold,
        format: args.format,
        output: context.output,
    };
    let bar = context.output.bytes_bar(source.length(), "importing");
    let task = import(&client, &source, &order, &bar).await;
    bar.finish_and_clear();
    let task = task.map_err(|error| error.of_request(&request_id))?;
    submit::finish(context, &client, task, (&args.submit).into(), Before::default()).await.map(drop)
}

/// What is said of the whole import.
#[derive(Debug, Clone)]
struct Order {
    limits: Limits,
    request_id: String,
    hold: bool,
    format: Option<Format>,
    output: Output,
}

/// Where lines come from.
enum Source {
    Stdin,
    /// With its length in bytes.
    File(PathBuf, u64),
}

impl Source {
    fn new(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            let message = format!("{} is a directory, allowed: a file or -", path.display());
            return Err(Error::usage(message).next("`rstuf artifact add` takes directories of artifacts"));
        }
        Ok(Self::File(path.to_owned(), metadata.len()))
    }

    fn length(&self) -> u64 {
        match self {
            Self::Stdin => 0,
            Self::File(_, length) => *length,
        }
    }

    /// From the start; standard input only once.
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        match self {
            Self::Stdin => Ok(Box::new(std::io::stdin())),
            Self::File(path, _) => Ok(Box::new(File::open(path).map_err(|error| unreadable(path, &error))?)),
        }
    }

    fn again(&self) -> bool {
        matches!(self, Self::File(..))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("{} cannot be read: {error}", path.display()))
}

/// Hands the source over; goes on where an earlier attempt with the request id stopped.
async fn import(client: &Client, source: &Source, order: &Order, bar: &ProgressBar) -> Result<Task, Error> {
    match client.create_import(&order.request_id, order.hold).await? {
        Created::Open(import) => append(client, import, source.open()?, order, bar).await,
        Created::Used => repeat(client, source, order, bar).await,
    }
}

/// Appends what the import lacks, part by part, and commits it.
async fn append(
    client: &Client,
    import: OpenImport,
    reader: Box<dyn Read + Send>,
    order: &Order,
    bar: &ProgressBar,
) -> Result<Task, Error> {
    let OpenImport { mut id, next_offset: mut offset } = import;
    if offset > 0 {
        order.output.note(&format!("going on after {offset} changes that the coordinator has"));
    }
    let (sender, mut receiver) = mpsc::channel(PARTS_AHEAD);
    let (reader, producing, known) = (bar.wrap_read(reader), order.clone(), offset);
    let producer = tokio::task::spawn_blocking(move || produce(reader, &producing, known, &sender));
    while let Some(Some(part)) = receiver.recv().await {
        // An import without changes lapses soon, and to read the first ones may have taken longer.
        if offset == 0
            && let Created::Open(import) = client.create_import(&order.request_id, order.hold).await?
        {
            id = import.id;
        }
        offset = client.append_import(&id, offset, part).await?;
    }
    let produced = producer.await.map_err(|error| Error::failed(format!("reading failed: {error}")))?;
    if let Err(error) = produced {
        // Nobody is going to commit it; where that fails, it lapses by itself.
        let _ = client.delete_import(&id).await;
        return Err(error);
    }
    bar.finish_and_clear();
    let spinner = order.output.spinner("waiting until the coordinator has it safely on disk");
    let task = client.commit_import(&id).await;
    spinner.finish_and_clear();
    task
}

/// Streams the source in one call, by which the coordinator tells whether the request id was used for just this. A file
/// is streamed again where that helps.
async fn repeat(client: &Client, source: &Source, order: &Order, bar: &ProgressBar) -> Result<Task, Error> {
    let attempt = async || {
        bar.reset();
        attempt_once(client, source.open()?, order, bar).await
    };
    client.import(source.again(), attempt).await
}

async fn attempt_once(
    client: &Client,
    reader: Box<dyn Read + Send>,
    order: &Order,
    bar: &ProgressBar,
) -> Result<Result<Task, Broken>, Error> {
    let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
    let reader = bar.wrap_read(reader);
    let producing = order.clone();
    let mut producer = tokio::task::spawn_blocking(move || produce(reader, &producing, 0, &sender));

    // The stream may end only after the last line: the coordinator takes the end for a yes. Where reading fails, the
    // stream stands still until the call is dropped, which takes everything back.
    let parts = ReceiverStream::new(receiver).chain(tokio_stream::pending());
    let parts = parts.take_while(Option::is_some).filter_map(|part| part);
    let call = client.import_stream(&order.request_id, order.hold, parts);
    tokio::pin!(call);
    tokio::select! {
        answer = &mut call => return answer,
        produced = &mut producer => {
            produced.map_err(|error| Error::failed(format!("reading failed: {error}")))??;
        }
    }
    bar.finish_and_clear();
    let spinner = order.output.spinner("waiting until the coordinator has it safely on disk");
    let answer = call.await;
    spinner.finish_and_clear();
    answer
}

/// Reads all lines but the first `known` into parts, the last one followed by `None`. Ends early when nobody takes them
/// any more: then the call's answer tells why.
fn produce<R: Read>(source: R, order: &Order, known: u64, sender: &mpsc::Sender<Option<Part>>) -> Result<(), Error> {
    let mut parts = Parts::new(source, order.format, order.limits)?;
    parts.skip(known)?;
    while let Some(part) = parts.next()? {
        if sender.blocking_send(Some(part)).is_err() {
            return Ok(());
        }
    }
    // Whether anybody takes the end is for the call to tell.
    let _ = sender.blocking_send(None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Result<(), Error>, Vec<Option<Part>>) {
        let order = Order {
            limits: Limits { changes_max: 10, bytes_max: 1 << 20 },
            request_id: "id7".into(),
            hold: true,
            format: None,
            output: Output::new(crate::output::Format::Json),
        };
        let (sender, mut receiver) = mpsc::channel(1_000);
        let outcome = produce(text.as_bytes(), &order, 0, &sender);
        drop(sender);
        (outcome, std::iter::from_fn(|| receiver.blocking_recv()).collect())
    }

    fn text(lines: usize) -> String {
        (0..lines).map(|at| format!("a/{at};1;sha256;{}\n", "ab".repeat(32))).collect()
    }

    #[test]
    fn lines_become_bounded_parts_and_an_end() {
        let (outcome, parts) = read(&text(25));
        assert_eq!(outcome, Ok(()));
        let sizes: Vec<_> = parts.iter().map(|part| part.as_ref().map(Part::len)).collect();
        assert_eq!(sizes, [Some(10), Some(10), Some(5), None]);
    }

    /// Without the end, the coordinator never hears that the import is complete.
    #[test]
    fn a_wrong_line_leaves_the_import_without_an_end() {
        let (outcome, parts) = read(&format!("{}a;x;sha256;y\n", text(11)));
        assert!(outcome.unwrap_err().message.starts_with("line 12: length"));
        assert_eq!(parts.iter().map(Option::is_some).collect::<Vec<_>>(), [true]);
    }
}
