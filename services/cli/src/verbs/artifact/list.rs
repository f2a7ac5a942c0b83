//! `rstuf artifact list`

use rstuf_api::proto::artifacts::v1::ListArtifactsRequest;
use serde::Serialize;

use crate::context::Context;
use crate::error::Error;
use crate::output::table;
use crate::{page, view};

/// Artifacts in one answer, at most.
const PAGE_MAX: u32 = 1_000;

const EXAMPLES: &str = "\
In the order of the paths. With --output json: {\"artifacts\": [...], \"more\": false}.

Examples:
  rstuf artifact list
  rstuf artifact list releases/ --limit 20
  rstuf artifact list --all --output json | jq -r '.artifacts[].path'";

/// List the artifacts of the newest publication
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only paths that begin with this
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    artifacts: Vec<view::Artifact>,
    more: bool,
}

pub(crate) async fn run(context: &Context, args: ListArgs) -> Result<(), Error> {
    let client = context.client()?;
    let limit = (!args.all).then(|| usize::try_from(args.limit).unwrap_or(usize::MAX));
    let listed = page::collect(limit, PAGE_MAX, async |page_size, page_token| {
        let request = ListArtifactsRequest { path_prefix: args.prefix.clone(), page_size, page_token };
        let page = client.list_artifacts(&request).await?;
        Ok((page.artifacts.into_iter().map(view::Artifact::from).collect(), page.next_page_token))
    })
    .await?;
    let answer = Answer { artifacts: listed.items, more: listed.more };
    context.output.answer(&answer, human)?;
    if answer.more {
        context.output.note("there are more: --limit NUMBER or --all shows them");
    }
    Ok(())
}

fn human(answer: &Answer) -> String {
    if answer.artifacts.is_empty() {
        return "no artifacts".to_owned();
    }
    let row = |artifact: &view::Artifact| {
        let sha256 = artifact.hashes.get("sha256").cloned().unwrap_or_default();
        [artifact.path.clone(), artifact.length.to_string(), sha256]
    };
    table(["PATH", "LENGTH", "SHA256"], answer.artifacts.iter().map(row))
}
