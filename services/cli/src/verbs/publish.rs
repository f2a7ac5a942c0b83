//! `rstuf publish`

use crate::{
    context::Context,
    error::Error,
    submit::{self, Before, Finish, RequestArgs},
};

/// Results that are shown; `rstuf task results` has them all.
const RESULTS_SHOWN_MAX: usize = 20;

const EXAMPLES: &str = "\
Shows how many changes were published, and the paths of the first 20. `rstuf task list --state held` lists what would be
published, `rstuf task changes ID` what is in it, and `rstuf task cancel ID` drops it.

Examples:
  rstuf publish
  rstuf publish --wait-timeout 30 --json";

/// Publish what was submitted with --hold
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    request: RequestArgs,
}

pub(crate) async fn run(context: &Context, args: PublishArgs) -> Result<(), Error> {
    let client = context.client()?;
    let request_id = args.request.request_id();
    let task = client.publish(&request_id).await.map_err(|error| error.of_request(&request_id))?;
    let how = Finish { wait: &args.request.wait, hold: false, results: Some(RESULTS_SHOWN_MAX) };
    submit::finish(context, &client, task, how, Before::default()).await.map(drop)
}
