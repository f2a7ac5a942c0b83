//! `rstuf artifact list`

use crate::{
    context::Context,
    error::Error,
    output::table,
    published::{self, Wanted},
    view,
};

const EXAMPLES: &str = "\
In the order of the paths. In a pattern, `*` stands for any characters and `?` for one, neither for a `/`. With --json:
{\"artifacts\": [...], \"more\": false}, written as they come: where it fails on the way, the document has no end, and
the exit code is not 0.

Examples:
  rstuf artifact list
  rstuf artifact list releases/ --limit 20
  rstuf artifact ls 'releases/*/app.tar.gz'
  rstuf artifact list --all --json | jq -r '.artifacts[].path'";

/// List the artifacts of the newest publication
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only paths that begin with this or, where it has a `*` or `?`, match it
    #[arg(value_name = "PREFIX|PATTERN", conflicts_with = "prefix")]
    wanted: Option<Wanted>,
    /// Only paths that begin with this, whatever characters it has
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value = "100", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<(), Error> {
    let client = context.client()?;
    let limit = (!args.all).then(|| usize::try_from(args.limit).unwrap_or(usize::MAX));
    let wanted = args.wanted.unwrap_or_else(|| Wanted::with_prefix(args.prefix.unwrap_or_default()));
    let mut answer = context.output.long_answer("artifacts");
    let show = |page: Vec<view::Artifact>| answer.items(&page, rows);
    let more = published::walk(&client, context.output, &wanted, limit, show).await?;
    answer.end(more, || wanted.nothing())?;
    if more {
        context.output.note("there are more: --limit NUMBER or --all shows them");
    }
    Ok(())
}

/// The lines of one page; those of the first are below a head. Columns are as wide as the page wants them.
fn rows(page: &[view::Artifact], first: bool) -> String {
    let row = |artifact: &view::Artifact| {
        let sha256 = artifact.hashes.get("sha256").cloned().unwrap_or_default();
        [artifact.path.clone(), artifact.length.to_string(), sha256]
    };
    let text = table(["PATH", "LENGTH", "SHA256"], page.iter().map(row));
    match text.split_once('\n') {
        Some((_, rows)) if !first => rows.to_owned(),
        _ => text,
    }
}
