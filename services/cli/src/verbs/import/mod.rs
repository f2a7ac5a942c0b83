//! `rstuf import`: many artifacts from a file, as one task.

mod lines;
mod objects;
mod reader;
mod rows;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use self::reader::{Format, Reader};
use crate::{
    context::Context,
    error::Error,
    submit::{self, Before, SubmitArgs},
    upload::{self, Order, upload},
};

const EXAMPLES: &str = "\
Each line adds or removes one artifact, in one of these formats; the first line shows which, or --format says it:

  commas      path,length,algorithm,digest (--format csv is the same)
  semicolons  path;length;algorithm;digest
  jsonl       {\"path\": \"a/b\", \"length\": 5, \"hashes\": {\"sha256\": \"...\"}, \"custom\": {\"any\": \"thing\"}}

With commas or semicolons the first line may name the columns, then in any order. The algorithm is sha256, sha512 or
blake2b-256, the digest in lower-case hexadecimal digits, the length in bytes. A path that holds the delimiter or `\"`
is put in quotes. Lines of one path with several algorithms stand together; sha256 must be among them. A fifth column,
action, removes: `path,,,,remove`. In JSON Lines that is {\"remove\": \"path\"}, and `custom` may be left out.

The import takes effect whole or not at all: where lines are wrong, the first 20 are told, and nothing of it takes
effect. It is published at once, as one task. Of several changes to one path the last counts. It goes on by itself where
the connection breaks, and where the command was stopped if the same is imported with the same --request-id within a
day, or within 10 minutes where nothing had arrived yet. It is refused where the first lines are others by then.

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
    /// Where an earlier run with the same --request-id was stopped, drop what it sent and begin anew
    #[arg(long, requires = "request_id")]
    restart: bool,
    #[command(flatten)]
    submit: SubmitArgs,
}

pub(crate) async fn run(context: &Context, args: ImportArgs) -> Result<(), Error> {
    let client = context.client()?;
    let source = Source::new(&args.file)?;
    let request_id = args.submit.request.request_id();
    let order = Order {
        limits: upload::limits_of(&client, usize::MAX).await?,
        request_id: request_id.clone(),
        hold: args.submit.hold,
        tell_id: args.submit.request.is_random(),
        restart: args.restart,
        output: context.output,
    };
    let bar = context.output.bytes_bar(source.length(), "importing");
    let (input, format) = (bar.wrap_read(source.open()?), args.format);
    // The first line may be late.
    let mut input = Some(input);
    let mut reader = None;
    let changes = move || {
        if let Some(input) = input.take() {
            reader = Some(Reader::new(input, format)?);
        }
        reader.as_mut().map_or(Ok(None), Reader::next)
    };
    let task = upload(&client, changes, &order, &bar).await;
    bar.finish_and_clear();
    let task = task.map_err(|error| error.of_request(&request_id))?;
    submit::finish(context, &client, task, (&args.submit).into(), Before::default()).await.map(drop)
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

    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        match self {
            Self::Stdin => Ok(Box::new(std::io::stdin())),
            Self::File(path, _) => Ok(Box::new(File::open(path).map_err(|error| unreadable(path, &error))?)),
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("{} cannot be read: {error}", path.display()))
}
