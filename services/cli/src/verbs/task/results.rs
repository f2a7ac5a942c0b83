//! `rstuf task results`

use serde::Serialize;

use super::id::TaskId;
use crate::context::Context;
use crate::error::Error;
use crate::{submit, view};

const EXAMPLES: &str = "\
In the order in which the changes were submitted. With --output json: {\"results\": [...], \"more\": false}.

Examples:
  rstuf task results ID
  rstuf task results --output json ID | jq -r '.results[] | select(.outcome == \"not_found\") | .path'";

/// Show how each change of a finished task ended
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResultsArgs {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID")]
    id: TaskId,
    /// How many at most [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Answer {
    results: Vec<view::ChangeResult>,
    more: bool,
}

pub(crate) async fn run(context: &Context, args: ResultsArgs) -> Result<(), Error> {
    let limit = args.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let client = context.client()?;
    let id = args.id.whole(&client).await?;
    let listed = submit::results(&client, &id, limit).await?;
    let answer = Answer { results: listed.items, more: listed.more };
    context.output.answer(&answer, |answer| submit::results_table(&answer.results))
}
