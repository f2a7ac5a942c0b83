//! `rstuf artifact add`

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use rstuf_tuf::{Custom, HashAlgorithm};

use crate::collect::{self, Search};
use crate::context::Context;
use crate::error::Error;
use crate::hash::{self, Recipe};
use crate::submit::{self, SubmitArgs};

const EXAMPLES: &str = "\
A file's artifact path is its base name; that of a file in a directory is relative to the directory. Directories are
walked in the order of names. What is hidden in them, links, and what is neither file nor directory are left out, and said
so. The bytes stay here: only path, length and hashes are sent.

Examples:
  rstuf artifact add app-1.0.tar.gz
  rstuf artifact add --prefix releases/1.0 dist/
  rstuf artifact add --as latest.tar.gz app-1.0.tar.gz
  rstuf artifact add --custom '{\"license\": \"MIT\"}' --algorithm sha512 app-1.0.tar.gz
  rstuf artifact add --hold dist/a && rstuf artifact add --hold dist/b && rstuf publish";

/// Add files, or replace those with the same path
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AddArgs {
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Put this before every artifact path, with a `/` between
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// The artifact path of the one file
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// A hash to list besides sha256, which always is; may be repeated
    #[arg(long = "algorithm", value_name = "ALGORITHM", value_parser = algorithms())]
    algorithms: Vec<HashAlgorithm>,
    /// A JSON object that clients see as `custom` with every one of the artifacts
    #[arg(long, value_name = "JSON", value_parser = custom)]
    custom: Option<Custom>,
    /// Take links inside directories as what they point to
    #[arg(long)]
    follow_links: bool,
    /// Take what is hidden inside directories, too: names that begin with a dot
    #[arg(long)]
    hidden: bool,
    #[command(flatten)]
    submit: SubmitArgs,
}

fn algorithms() -> impl clap::builder::TypedValueParser<Value = HashAlgorithm> {
    PossibleValuesParser::new(["sha256", "sha512", "blake2b-256"]).try_map(|name| name.parse::<HashAlgorithm>())
}

fn custom(text: &str) -> Result<Custom, String> {
    Custom::from_json(text.as_bytes()).map_err(|error| error.to_string())
}

pub(crate) async fn run(context: &Context, args: AddArgs) -> Result<(), Error> {
    if args.name.is_some() && args.paths.len() > 1 {
        return Err(Error::usage(format!("--as names one file, but there are {}", args.paths.len())));
    }
    let AddArgs { paths, prefix, name, algorithms, custom, follow_links, hidden, submit } = args;
    let search = Search { paths, prefix, name, follow_links, hidden };
    let collected = tokio::task::spawn_blocking(move || collect::collect(&search))
        .await
        .map_err(|error| Error::failed(format!("looking for files failed: {error}")))??;
    collected.tell(context.output, true);

    let bytes_total = collected.files.iter().map(|file| file.length).sum();
    let bar = context.output.bytes_bar(bytes_total, "hashing");
    let changes = hash::additions(collected.files, Recipe::new(&algorithms, custom), &bar).await;
    bar.finish_and_clear();
    submit::run(context, &changes?, collected.skipped, &submit).await
}
