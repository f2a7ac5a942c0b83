//! `rstuf task get`

use rstuf_api::RequestId;
use serde::Serialize;

use super::id::TaskId;
use crate::{client::Client, context::Context, error::Error, view, wait};

const EXAMPLES: &str = "\
Exit code 0 whatever the task's state: it was found. `task watch` tells by its exit code.

Examples:
  rstuf task get ID
  rstuf task get 4f1c          # short for the one task whose id begins or ends so
  rstuf task get --request-id build-7
  rstuf task get --json ID | jq -r .task.state";

/// Show one task
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// The task's id, or its first or last digits, 4 at least
    #[arg(value_name = "ID", required_unless_present = "request_id")]
    id: Option<TaskId>,
    /// The task of this request id instead: what became of a command that was cut short
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    request_id: Option<RequestId>,
}

#[derive(Debug, Serialize)]
struct Answer {
    task: view::Task,
}

pub(crate) async fn run(context: &Context, args: GetArgs) -> Result<(), Error> {
    let client = context.client()?;
    let task = match (args.id, args.request_id) {
        (_, Some(id)) => of_request(&client, &id).await?,
        (Some(id), None) => client.task(&id.whole(&client).await?).await?,
        (None, None) => return Err(Error::usage("neither an id nor a request id is given")),
    };
    context.output.answer(&Answer { task }, human)
}

/// Asks for an open import first: what is none any more when that is answered is a task.
async fn of_request(client: &Client, id: &RequestId) -> Result<view::Task, Error> {
    let Some(import) = client.open_import(id.as_str()).await? else { return client.task_of_request(id).await };
    let count = wait::changes(import.next_offset);
    let lapses = import.expires.map(|at| format!(" until {at:.0}")).unwrap_or_default();
    let message =
        format!("request id {id} is that of an import that is not whole yet; the coordinator keeps {count}{lapses}");
    let advice = "if it was stopped, the same `rstuf import` with this --request-id goes on, with --restart it begins \
                  anew; nothing of it takes effect before";
    Err(Error::failed(message).next(advice).of_request(id.as_str()))
}

fn human(answer: &Answer) -> String {
    let task = &answer.task;
    let mut lines = vec![wait::line(task), format!("kind      {}, {}", task.kind, wait::carried(task))];
    lines.extend(task.created_at.map(|at| format!("accepted  {at:.0}")));
    lines.extend(task.finished_at.map(|at| format!("finished  {at:.0}")));
    lines.extend(task.request_id.as_ref().map(|id| format!("request   {id}")));
    lines.join("\n")
}
