//! `rstuf artifact add`

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use rstuf_tuf::{Change, Custom, HashAlgorithm};
use serde::Serialize;

use crate::{
    artifacts_dir,
    client::Client,
    collect::{self, Collected, Found, Search, Skipped},
    context::Context,
    error::Error,
    hash::{self, Recipe},
    output::table,
    published,
    submit::{self, Before, SubmitArgs},
    view::{Counts, Outcome, TaskState},
};

const EXAMPLES: &str = "\
A file's artifact path is its base name; that of a file in a directory is relative to the directory. Directories are
walked in the order of names. What is hidden in them, links, and what is neither file nor directory are left out, and
said so.

Only path, length and hashes are sent: the bytes stay where they are. A mirror serves those in its artifacts_dir, and
--artifacts-dir copies them there.

--no-replace and --dry-run compare with the newest publication. What waits or is held is not seen; so --no-replace looks
at how each change ended, too, and exits 1 where something was replaced after all. With --hold or --no-wait nobody waits
for that end, so nobody looks.

Examples:
  rstuf artifact add app-1.0.tar.gz
  rstuf artifact add --prefix releases/1.0 --dry-run dist/
  rstuf artifact add --prefix releases/1.0 --no-replace --artifacts-dir /srv/artifacts dist/
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
    /// Show what would become of each path, and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not replace: submit nothing if a path is an artifact with other contents already
    #[arg(long)]
    no_replace: bool,
    /// Copy the files by digest to where a mirror on this machine serves them, before they are submitted
    #[arg(long, value_name = "DIR", value_parser = artifacts_dir::directory)]
    artifacts_dir: Option<PathBuf>,
    #[command(flatten)]
    submit: SubmitArgs,
}

fn algorithms() -> impl clap::builder::TypedValueParser<Value = HashAlgorithm> {
    PossibleValuesParser::new(HashAlgorithm::ALL.map(HashAlgorithm::as_str))
        .try_map(|name| name.parse::<HashAlgorithm>())
}

fn custom(text: &str) -> Result<Custom, String> {
    Custom::from_json(text.as_bytes()).map_err(|error| error.to_string())
}

/// What would become of a path.
#[derive(Debug, Serialize)]
struct Foreseen {
    path: String,
    source: String,
    /// `added`, `replaced` or `unchanged`.
    outcome: Outcome,
}

/// The answer of a dry run.
#[derive(Debug, Serialize)]
struct DryRun {
    dry_run: bool,
    artifacts: Vec<Foreseen>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
}

pub(crate) async fn run(context: &Context, args: AddArgs) -> Result<(), Error> {
    if args.name.is_some() && args.paths.len() > 1 {
        return Err(Error::usage(format!("--as names one file, but there are {}", args.paths.len())));
    }
    let AddArgs { paths, prefix, name, algorithms, custom, follow_links, hidden, .. } = args;
    let search = Search { paths, prefix, name, follow_links, hidden };
    let collected = tokio::task::spawn_blocking(move || collect::collect(&search))
        .await
        .map_err(|error| Error::failed(format!("looking for files failed: {error}")))??;
    collected.tell(context.output, true);
    let Collected { files, skipped, .. } = collected;
    if !args.dry_run {
        tell_paths(context, &files);
    }

    let bar = context.output.bytes_bar(files.iter().map(|file| file.length).sum(), "hashing");
    let changes = hash::additions(files.clone(), Recipe::new(&algorithms, custom), &bar).await;
    bar.finish_and_clear();
    let changes = changes?;
    let client = context.client()?;
    if args.dry_run || args.no_replace {
        let artifacts = foresee(context, &client, &files, &changes).await?;
        if args.no_replace {
            refuse_replacing(&artifacts)?;
        }
        if args.dry_run {
            return context.output.answer(&DryRun { dry_run: true, artifacts, skipped }, human);
        }
    }
    let copied = match &args.artifacts_dir {
        Some(directory) => {
            let copied = artifacts_dir::copy(files, &changes, directory).await?;
            context.output.note(&format!("{copied} of {} copied to {}", changes.len(), directory.display()));
            Some(copied)
        }
        None => None,
    };
    let task = submit::run(context, &client, &changes, Before { skipped, copied }, &args.submit).await?;
    // Of what is not published yet, nobody asks for the bytes.
    let Some(Counts { added, replaced, .. }) = task.counts.filter(|_| task.state == TaskState::Done) else {
        return Ok(());
    };
    if copied.is_none() && added + replaced > 0 {
        context.output.note(BYTES_NOT_SENT);
    }
    if args.no_replace && replaced > 0 {
        let message = format!("{replaced} were replaced: others added them after --no-replace had looked");
        return Err(Error::failed(message));
    }
    Ok(())
}

const BYTES_NOT_SENT: &str = "the bytes were not sent: a mirror serves them once they are in its artifacts_dir \
                              (--artifacts-dir copies them)";

/// Paths that are told one by one; the rest is counted, and a dry run has them all.
const PATHS_SHOWN_MAX: usize = 20;

/// Before anything is sent: whoever sees that the paths are wrong can still stop it.
fn tell_paths(context: &Context, files: &[Found]) {
    for file in files.iter().take(PATHS_SHOWN_MAX) {
        context.output.note(&format!("adding {} as {}", file.source.display(), file.path));
    }
    if files.len() > PATHS_SHOWN_MAX {
        context.output.note(&format!("and {} more (--dry-run shows all)", files.len() - PATHS_SHOWN_MAX));
    }
}

async fn foresee(
    context: &Context,
    client: &Client,
    files: &[Found],
    changes: &[Change],
) -> Result<Vec<Foreseen>, Error> {
    let outcomes = published::outcomes(client, context.output, changes).await?;
    let one = |(file, outcome): (&Found, Outcome)| Foreseen {
        path: file.path.to_string(),
        source: file.source.display().to_string(),
        outcome,
    };
    Ok(files.iter().zip(outcomes).map(one).collect())
}

fn refuse_replacing(artifacts: &[Foreseen]) -> Result<(), Error> {
    let replaced: Vec<_> = artifacts.iter().filter(|artifact| artifact.outcome == Outcome::Replaced).collect();
    if replaced.is_empty() {
        return Ok(());
    }
    let mut names: Vec<_> = replaced.iter().take(PATHS_SHOWN_MAX).map(|artifact| artifact.path.clone()).collect();
    if replaced.len() > names.len() {
        names.push(format!("{} more", replaced.len() - names.len()));
    }
    let message = format!("artifacts with other contents already: {}; nothing was submitted", names.join(", "));
    Err(Error::failed(message).next("choose another --prefix, or replace them: run the same without --no-replace"))
}

fn human(answer: &DryRun) -> String {
    let row = |it: &Foreseen| [it.outcome.as_str().to_owned(), it.path.clone(), it.source.clone()];
    let rows = table(["OUTCOME", "PATH", "FILE"], answer.artifacts.iter().map(row));
    format!("{rows}\nnothing was submitted, as --dry-run says")
}
