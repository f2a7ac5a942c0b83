//! `rstuf task changes`

use serde::Serialize;

use super::id::Part;
use crate::{context::Context, error::Error, output::table, page, view};

/// Changes in one answer, at most.
const PAGE_MAX: u32 = 10_000;

const EXAMPLES: &str = "\
In the order in which they were submitted; of a request to publish, all that it releases. Of a task that is
done, `rstuf task results` shows what became of each. With --json: {\"changes\": [...], \"more\": false}.

Examples:
  rstuf task list --state held     # then, of each:
  rstuf task changes ID
  rstuf task changes --json ID | jq -r '.changes[] | select(.kind == \"remove\") | .path'";

/// Show what a task that is held or waits is going to change
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChangesArgs {
    #[command(flatten)]
    part: Part,
}

#[derive(Debug, Serialize)]
struct Answer {
    changes: Vec<view::TaskChange>,
    more: bool,
}

pub(crate) async fn run(context: &Context, args: ChangesArgs) -> Result<(), Error> {
    let client = context.client()?;
    let (id, limit) = args.part.of(&client).await?;
    let listed = page::collect(limit, PAGE_MAX, async |page_size, page_token| {
        client.task_changes(&id, page_size, page_token).await
    })
    .await?;
    context.output.answer(&Answer { changes: listed.items, more: listed.more }, human)
}

fn human(answer: &Answer) -> String {
    if answer.changes.is_empty() {
        return "no changes".to_owned();
    }
    let row = |change: &view::TaskChange| {
        let length = change.length.map(|length| length.to_string()).unwrap_or_default();
        [change.kind.to_owned(), length, change.path.clone()]
    };
    table(["CHANGE", "LENGTH", "PATH"], answer.changes.iter().map(row))
}
