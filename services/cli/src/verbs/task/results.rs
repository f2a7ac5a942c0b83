//! `rstuf task results`

use serde::Serialize;

use super::id::Part;
use crate::{context::Context, error::Error, submit, view};

const EXAMPLES: &str = "\
In the order in which the changes were submitted. With --output json: {\"results\": [...], \"more\": false}.

Examples:
  rstuf task results ID
  rstuf task results --output json ID | jq -r '.results[] | select(.outcome == \"not_found\") | .path'";

/// Show how each change of a finished task ended
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResultsArgs {
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Serialize)]
struct Answer {
    results: Vec<view::ChangeResult>,
    more: bool,
}

pub(crate) async fn run(context: &Context, args: ResultsArgs) -> Result<(), Error> {
    let client = context.client()?;
    let (id, limit) = args.part.of(&client).await?;
    let listed = submit::results(&client, &id, limit).await?;
    let answer = Answer { results: listed.items, more: listed.more };
    context.output.answer(&answer, |answer| submit::results_table(&answer.results))
}
